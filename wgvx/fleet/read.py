"""From the tables of a plan's file to a checked :class:`Plan`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from wgvx import keys, mtu
from wgvx.config import Prefix, quiet, values
from wgvx.config.load import read_quiet
from wgvx.config.table import ConfigError, Document, Schema, Table, reason, shown
from wgvx.config.values import Kind as Form
from wgvx.fleet import files
from wgvx.fleet.overlap import Overlaps
from wgvx.fleet.plan import Kind, Plan, PrivateKeys, Site, Tenant, Topology

DEFAULT_LISTEN_PORT = 51820
DEFAULT_UDP_PORT = 4789  # IANA's for VXLAN
NAT_KEEPALIVE = 25
"""Seconds; the least that common NATs keep a UDP mapping is 30 (WireGuard's own advice)."""
MINIMUM_UNDERLAY_MTU = mtu.MINIMUM_TUNNEL_MTU + mtu.OUTER_OVERHEAD
MAXIMUM_UNDERLAY_MTU = 65536
NO_DEVICE = ("all", "default", "lo")
"""The kernel has a use of its own for these."""
NO_SITE = (*NO_DEVICE, "ungrouped", "localhost")
"""And Ansible for these."""

SCHEMA = Schema(
    "one fleet",
    {
        "": ("fleet", "site", "tenant"),
        "fleet": ("tunnel", "topology", "private_keys", "preshared_keys", "image"),
        "site": (
            *("name", "kind", "endpoint", "listen_port", "keepalive", "hub", "via", "underlay"),
            *("underlay_mtu", "tunnel", "public_key", "public_key_file"),
        ),
        "tenant": ("name", "vni", "prefix", "sites", "reserved", "bridge", "udp_port", *quiet.KEYS),
    },
    {"fleet": "[fleet]", "site": "[[site]]", "tenant": "[[tenant]]"},
    {"site": "name", "tenant": "name"},
    {"node": "site", "peer": "site", "network": "tenant", "interface": "site"},
)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


def _site_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?", text) or text in NO_SITE:
        raise ValueError
    return text


def _tenant_name(text: str) -> str:
    if text in NO_DEVICE:
        raise ValueError
    return _matching(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,13}[A-Za-z0-9])?", text)


def _image(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}", text):
        raise ValueError
    return text


def _choice(kind: type[E]) -> Form[E]:
    return Form(kind, " or ".join(f'"{one}"' for one in kind))


SITE_NAME = Form(
    _site_name,
    'a name of 1 to 15 of the characters a-z 0-9 -, "-" neither first nor last (it names the node, '
    f"its file and its device), and none of {', '.join(NO_SITE)}",
)
TENANT_NAME = Form(
    _tenant_name,
    "a name of 1 to 15 of the characters A-Z a-z 0-9 _ - (it names the interface on each node), "
    f"and none of {', '.join(NO_DEVICE)}",
)
BRIDGE = Form(
    lambda text: _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", text),
    "the name of a bridge, of 1 to 15 of the characters A-Z a-z 0-9 _ . -",
)
IMAGE = Form(_image, 'a container image such as "registry.example/wgvx:1"')


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError
    return text


def read(path: str | os.PathLike[str]) -> Plan:
    """Read and check the plan at `path`; ConfigError for whatever cannot be used."""
    path = Path(path)
    document = Document(path, SCHEMA)
    top = document.top
    fleet = top.table("fleet")
    if fleet is None:
        raise ConfigError(f"{path}: the table [fleet] is missing, want one with tunnel")
    site_tables = _by_name(top.tables("site"), SITE_NAME)
    if not site_tables:
        raise ConfigError(f"{path}: found no [[site]], want one for each node")
    topology = fleet.one("topology", _choice(Topology)) or Topology.MESH
    private_keys = fleet.one("private_keys", _choice(PrivateKeys)) or PrivateKeys.HERE
    tunnel = _prefixes(fleet, "tunnel")
    if tunnel is None:
        fleet.missing("tunnel", 'the prefix of the tunnel addresses such as ["10.254.0.0/16"]')
    sites = {name: _site(name, table, tunnel) for name, table in site_tables.items()}
    tenant_tables = _by_name(top.tables("tenant"), TENANT_NAME)
    tenants = {name: _tenant(name, table, tuple(sites)) for name, table in tenant_tables.items()}
    plan = Plan(
        path=path.absolute(),
        tunnel=tunnel,
        topology=topology,
        private_keys=private_keys,
        preshared_keys=fleet.boolean("preshared_keys", True),
        image=fleet.one("image", IMAGE) or "wgvx",
        sites=sites,
        tenants=tenants,
        digest=hashlib.blake2s(document.text.encode()).hexdigest(),
    )
    _check_keys(plan, site_tables)
    _check_topology(plan, fleet, site_tables)
    _check_names(plan, tenant_tables)
    Overlaps(plan, fleet, site_tables, tenant_tables).refuse()
    return plan


def read_text(text: str, path: Path) -> Plan:
    """The plan that the file `path` would be with another text; ConfigError as if it were."""
    # Beside it, for what a plan names relative to itself.
    trial = path.with_name(f".{path.stem}.trial.toml")
    try:
        files.write(trial, text, files.SECRET_MODE)
        return replace(read(trial), path=path.absolute())
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(trial), str(path))) from None
    finally:
        trial.unlink(missing_ok=True)


def _by_name(tables: tuple[Table, ...], form: Form[str]) -> dict[str, Table]:
    found: dict[str, Table] = {}
    for table in tables:
        name = table.one("name", form)
        if name is None:
            table.missing("name", form.wanted)
        if name in found:
            table.fail("name", f'found "{name}" of {found[name].place} again, want each once')
        found[name] = table
    return found


def _prefixes(table: Table, key: str) -> tuple[Prefix, ...] | None:
    """One prefix of a family at most, each with room for two hosts or more."""
    prefixes = table.many(key, values.PREFIX)
    if prefixes is None:
        return None
    if not prefixes or len({prefix.version for prefix in prefixes}) < len(prefixes):
        table.fail(key, f"found {len(prefixes)} prefixes, want one of each family at most")
    for prefix in prefixes:
        if prefix.max_prefixlen - prefix.prefixlen < 2:
            table.fail(key, f"found {prefix}, want a prefix with room for two hosts or more")
    return prefixes


def _site(name: str, table: Table, tunnel: tuple[Prefix, ...]) -> Site:
    endpoint = table.one("endpoint", values.ENDPOINT)
    listen_port = table.integer("listen_port", 1, 65535)
    if listen_port is None:
        listen_port = endpoint.port if endpoint else DEFAULT_LISTEN_PORT
    keepalive = table.integer("keepalive", 0, 65535, " seconds (0: off)")
    if keepalive is None:
        keepalive = 0 if endpoint else NAT_KEEPALIVE
    address = table.one("tunnel", values.ADDRESS)
    if address is not None and not any(address in prefix for prefix in tunnel):
        table.refuse("tunnel", str(address), "an address within [fleet] tunnel")
    return Site(
        name=name,
        kind=table.one("kind", _choice(Kind)) or Kind.WGVX,
        endpoint=endpoint,
        listen_port=listen_port,
        keepalive=keepalive,
        hub=table.boolean("hub", False),
        via=table.one("via", SITE_NAME),
        underlay=table.many("underlay", values.PREFIX) or (),
        underlay_mtu=table.integer(
            "underlay_mtu", MINIMUM_UNDERLAY_MTU, MAXIMUM_UNDERLAY_MTU, " bytes"
        )
        or mtu.DEFAULT_ROUTE_MTU,
        tunnel=address,
        public_key=_public_key(table),
    )


def _public_key(table: Table) -> bytes | None:
    if "public_key" in table and "public_key_file" in table:
        table.fail("public_key_file", "found public_key beside it, want one of the two")
    if "public_key" in table:
        return table.one("public_key", values.KEY)
    text = table.one("public_key_file", values.PATH)
    if text is None:
        return None
    try:
        return keys.decode(files.read_key(table.document.path.parent / text))
    except OSError as error:
        table.fail("public_key_file", f"{shown(text)} cannot be read: {reason(error)}")
    except ValueError:
        table.fail("public_key_file", f"{shown(text)} has no key in it, want {values.KEY.wanted}")


def _tenant(name: str, table: Table, every: tuple[str, ...]) -> Tenant:
    vni = table.integer("vni", 0, (1 << 24) - 1)
    if vni is None:
        table.missing("vni", "a whole number from 0 to 16777215")
    prefixes = _prefixes(table, "prefix") or ()
    bridge = table.one("bridge", BRIDGE)
    if not prefixes and bridge is None:
        table.missing("prefix", 'that of the overlay addresses such as ["10.0.0.0/24"], or bridge')
    if prefixes and bridge is not None:
        table.fail("bridge", "found prefix beside it, want one of the two: a member has no address")
    chosen = table.many("sites", SITE_NAME)
    for site in chosen or ():
        if site not in every:
            table.refuse("sites", site, f"sites of this plan: {_some(every)}")
    reserved = table.many("reserved", values.PREFIX) or ()
    for part in reserved:
        if not any(_within(part, prefix) for prefix in prefixes):
            table.refuse("reserved", str(part), "parts of this tenant's prefix")
    return Tenant(
        name=name,
        vni=vni,
        prefixes=prefixes,
        sites=every if chosen is None else tuple(dict.fromkeys(chosen)),
        reserved=reserved,
        bridge=bridge,
        udp_port=table.integer("udp_port", 1, 65535) or DEFAULT_UDP_PORT,
        quiet={key: value for key, value in read_quiet(table).items() if value},
    )


def _within(part: Prefix, whole: Prefix) -> bool:
    return (
        part.version == whole.version
        and part.network_address in whole
        and (part.prefixlen >= whole.prefixlen)
    )


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


# What one table alone cannot tell.


def _check_keys(plan: Plan, tables: dict[str, Table]) -> None:
    owner: dict[bytes, Table] = {}
    for name, site in plan.sites.items():
        if site.public_key is not None:
            other = owner.setdefault(site.public_key, tables[name])
            if other is not tables[name]:
                key = "public_key" if "public_key" in tables[name] else "public_key_file"
                tables[name].fail(key, f"found the key of {other.place} again, want each once")


def _check_topology(plan: Plan, fleet: Table, tables: dict[str, Table]) -> None:
    check: Callable[[Plan, Table, dict[str, Table]], None] = {
        Topology.MESH: _check_mesh,
        Topology.HUB_AND_SPOKE: _check_hubs,
    }[plan.topology]
    check(plan, fleet, tables)


def _check_mesh(plan: Plan, _: Table, tables: dict[str, Table]) -> None:
    for name, site in plan.sites.items():
        for key, value in (("hub", site.hub), ("via", site.via)):
            if value:
                tables[name].fail(
                    key, 'there are no hubs in a mesh, want [fleet] topology = "hub-and-spoke"'
                )
    for tenant in plan.tenants.values():
        hidden = [name for name in tenant.sites if plan.sites[name].endpoint is None]
        if len(hidden) > 1:
            tables[hidden[1]].fail(
                "endpoint",
                f'missing as that of "{hidden[0]}" is, so neither can call the other, and tenant '
                f'"{tenant.name}" has both; want one for either, or [fleet] topology = '
                '"hub-and-spoke"',
            )


def _check_hubs(plan: Plan, fleet: Table, tables: dict[str, Table]) -> None:
    if not plan.hubs:
        fleet.fail("topology", 'found "hub-and-spoke", want a [[site]] with hub = true for it')
    for hub in plan.hubs:
        if hub.endpoint is None:
            tables[hub.name].missing("endpoint", "where the spokes reach this hub")
    for name, site in plan.sites.items():
        if site.via is None:
            continue
        if site.hub:
            tables[name].fail("via", "found it at a hub, want it at a spoke: hubs know each other")
        if site.via not in plan.sites or not plan.sites[site.via].hub:
            hubs = _some(tuple(hub.name for hub in plan.hubs))
            tables[name].refuse("via", site.via, f"a site with hub = true: {hubs}")


def _check_names(plan: Plan, tables: dict[str, Table]) -> None:
    vnis: dict[tuple[int, int], str] = {}
    for name, tenant in plan.tenants.items():
        other = vnis.setdefault((tenant.vni, tenant.udp_port), name)
        if other != name:
            tables[name].fail(
                "vni", f"found {tenant.vni} of {tables[other].place} again, want each once"
            )
        if name in plan.sites:
            tables[name].refuse(
                "name", name, "a name that no site has: both name devices on the same nodes"
            )
        if tenant.bridge in (*plan.sites, *plan.tenants):
            tables[name].refuse("bridge", tenant.bridge, "a name that no site and no tenant has")

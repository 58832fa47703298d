"""`wgvx fleet check`: what a plan means, and why."""

from __future__ import annotations

import argparse

from wgvx import mtu
from wgvx.cli import output
from wgvx.cli.mtu import rows as rows_of_mtu
from wgvx.cli.units import counted
from wgvx.fleet import numbers
from wgvx.fleet.advice import warnings
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.paths import paths
from wgvx.fleet.plan import Tenant
from wgvx.fleet.read import read

MAXIMUM_ROWS = 24
"""Of a table for people; --json has them all."""


def run(args: argparse.Namespace) -> int:
    """Check and explain; nothing is written."""
    plan = read(args.plan)
    fleet = Fleet(plan, numbers.assign(plan, numbers.recall(plan)), Keyring(plan))
    if args.json:
        output.emit_json(_as_json(fleet))
        return 0
    sites, tenants = counted(len(plan.sites), "site"), counted(len(plan.tenants), "tenant")
    output.line(f"{plan.path}: valid, {sites}, {tenants}, {plan.topology}")
    _explain_sets(fleet)
    _explain_sites(fleet)
    for tenant in plan.tenants.values():
        _explain_tenant(fleet, tenant)
    found = list(warnings(fleet))
    if found:
        output.heading("warnings")
        for text in found:
            output.line(f"  {text}")
    return 0


def _table(headers: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    output.table(headers, rows[:MAXIMUM_ROWS], indent=2)
    if len(rows) > MAXIMUM_ROWS:
        output.line(f"  and {len(rows) - MAXIMUM_ROWS} more, which --json has")


def _explain_sets(fleet: Fleet) -> None:
    plan = fleet.plan
    sites = plan.sites.values()
    endpoints = sum(site.endpoint is not None for site in sites)
    hosts = list(dict.fromkeys(prefix for site in sites for prefix in site.underlay))
    overlay = [prefix for tenant in plan.tenants.values() for prefix in tenant.prefixes]
    output.heading("addresses: three sets, none of which overlaps another")
    output.fields(
        (
            ("underlay", f"{endpoints} endpoints; {output.some(hosts, 8)}"),
            ("tunnel", output.some(plan.tunnel, 8)),
            ("overlay", output.some(overlay, 8)),
        )
    )


def _explain_sites(fleet: Fleet) -> None:
    output.heading("sites")
    rows: list[tuple[object, ...]] = [
        (
            name,
            site.kind,
            site.endpoint or "behind NAT",
            ", ".join(map(str, fleet.links.addresses(name))),
            "hub" if site.hub else fleet.numbers.homes.get(name),
            sum(1 for _ in fleet.links.peers(name)),
            site.underlay_mtu,
            fleet.tunnel_mtus[name],
        )
        for name, site in fleet.plan.sites.items()
    ]
    headers = ("site", "kind", "endpoint", "tunnel", "hub", "peers", "underlay MTU", "tunnel MTU")
    _table(headers, rows)


def _explain_tenant(fleet: Fleet, tenant: Tenant) -> None:
    room = fleet.rooms[tenant.name]
    output.heading(f'tenant "{tenant.name}": VNI {tenant.vni}, overlay MTU {room.overlay}')
    if tenant.prefixes:
        rows: list[tuple[object, ...]] = [
            (name, ", ".join(map(str, fleet.numbers.overlay_address(tenant, name))))
            for name in tenant.sites
        ]
        _table(("site", "overlay address"), rows)
    else:
        output.fields((("sites", output.some(tenant.sites, 8)), ("bridge", tenant.bridge)))
    if room.narrowest is None:
        return
    output.line()
    # Counted for IPv6 everywhere, as `wgvx up` does: see wgvx.fleet.paths.
    steps = mtu.breakdown(room.underlay, 6, 6, vlan=False)
    narrowest = f'narrowest underlay, at site "{room.narrowest}"'
    arithmetic = rows_of_mtu(narrowest, "tunnel packet", room.underlay, steps)
    output.table(("", "bytes"), arithmetic, indent=2)
    if len(tenant.sites) > 1:
        output.line()
        found = sorted(paths(fleet.links, tenant), key=lambda one: one.underlay)
        _table(
            ("path", "underlay", "tunnel", "overlay"),
            [(" > ".join(one.sites), one.underlay, one.tunnel, one.overlay) for one in found],
        )


def _as_json(fleet: Fleet) -> dict[str, object]:
    plan = fleet.plan
    return {
        "plan": str(plan.path),
        "topology": plan.topology,
        "tunnel": [str(prefix) for prefix in plan.tunnel],
        "sites": [
            {
                "name": name,
                "kind": site.kind,
                "endpoint": None if site.endpoint is None else str(site.endpoint),
                "hub": site.hub,
                "via": fleet.numbers.homes.get(name),
                "tunnel": [str(address) for address in fleet.links.addresses(name)],
                "peers": list(fleet.links.peers(name)),
                "underlay_mtu": site.underlay_mtu,
                "tunnel_mtu": fleet.tunnel_mtus[name],
            }
            for name, site in plan.sites.items()
        ],
        "tenants": [
            {
                "name": name,
                "vni": tenant.vni,
                "prefix": [str(prefix) for prefix in tenant.prefixes],
                "mtu": fleet.rooms[name].overlay,
                "narrowest": fleet.rooms[name].narrowest,
                "sites": {
                    site: [str(one) for one in fleet.numbers.overlay_address(tenant, site)]
                    for site in tenant.sites
                },
                "paths": [
                    {
                        "sites": list(one.sites),
                        "underlay": one.underlay,
                        "tunnel": one.tunnel,
                        "overlay": one.overlay,
                    }
                    for one in paths(fleet.links, tenant)
                ],
            }
            for name, tenant in plan.tenants.items()
        ],
        "warnings": list(warnings(fleet)),
    }

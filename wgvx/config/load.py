"""From the tables of a file to a checked :class:`Config`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from wgvx import keys, mtu
from wgvx.config import quiet, values
from wgvx.config.advice import warnings
from wgvx.config.attach import Attachments
from wgvx.config.locate import node_name
from wgvx.config.model import (
    Address,
    AttachConfig,
    Config,
    FdbEntry,
    NetworkConfig,
    NodeConfig,
    PeerConfig,
    Prefix,
)
from wgvx.config.table import ConfigError, Document, Table, reason, shown

DEFAULT_LISTEN_PORT = 51820
DEFAULT_UDP_PORT = 4789  # IANA's for VXLAN
DEFAULT_AGEING = 300
DEFAULT_MAX_ENTRIES = 65536

MAXIMUM_AGEING = (1 << 31) - 1
MAXIMUM_MOVES = 1000
MAXIMUM_LIMIT = 10_000_000
MAXIMUM_ENTRIES = 1 << 24
MAXIMUM_KEY_FILE = 4096


def load(path: str | os.PathLike[str]) -> Config:
    """Read and check the file at `path`, and the key files it names.

    ConfigError for whatever cannot be used; what is usable yet hardly meant is in `warnings`.
    """
    path = Path(path)
    name = node_name(str(path.absolute()))
    document = Document(path)
    top = document.top
    node_table = top.table("node")
    if node_table is None:
        raise ConfigError(
            f"{path}: the table [node] is missing, want one with a private key and address"
        )
    node = _node(node_table)
    own_key = keys.public_key(node.private_key)
    config = Config(
        name=name,
        path=path.absolute(),
        node=node,
        peers=tuple(_peers(top.tables("peer"), own_key)),
        networks=tuple(_networks(top.tables("network"), name, node, own_key)),
        warnings=(),
    )
    return replace(config, warnings=(*document.warnings, *warnings(config)))


def _node(table: Table) -> NodeConfig:
    private_key = _secret(table, "private_key")
    if private_key is None:
        table.missing("private_key", 'private_key_file = "FILE" (wgvx genkey makes one)')
    if not any(private_key):
        table.fail("private_key", "found a key of zeros, want one that wgvx genkey made")
    addresses = table.many("address", values.INTERFACE)
    if not addresses:
        table.missing("address", 'this node\'s tunnel addresses such as ["10.254.0.1/24"]')
    _each_once(table, "address", (address.ip for address in addresses))
    state_dir = table.one("state_dir", values.PATH)
    fixed_mtu = table.integer("mtu", mtu.MINIMUM_TUNNEL_MTU, mtu.MAXIMUM_TUNNEL_MTU, " bytes")
    return NodeConfig(
        private_key=private_key,
        listen_port=_or(
            table.integer("listen_port", 0, 65535, " (0: any free port)"), DEFAULT_LISTEN_PORT
        ),
        addresses=addresses,
        mtu=fixed_mtu,
        fwmark=_or(table.integer("fwmark", 0, (1 << 32) - 1), 0),
        forward=table.boolean("forward", False),
        state_dir=None if state_dir is None else table.document.path.absolute().parent / state_dir,
        probe_mtu=table.boolean("probe_mtu", fixed_mtu is None),
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _each_once(table: Table, key: str, items: Iterable[Address]) -> None:
    seen: set[Address] = set()
    for item in items:
        if item in seen:
            table.fail(key, f'found "{item}" twice, want each once')
        seen.add(item)


# Keys.


def _secret(table: Table, key: str) -> bytes | None:
    """The key at `key` or in the file that `key`_file names; None with neither."""
    file_key = f"{key}_file"
    if key in table and file_key in table:
        table.fail(file_key, f"found {key} beside it, want one of the two")
    if key in table:
        _warn_if_others_read(table.document, table.document.path, table.document.mode)
        return table.one(key, values.KEY)
    text = table.one(file_key, values.PATH)
    if text is None:
        return None
    path = table.document.path.parent / text
    try:
        with path.open("rb") as file:
            data = file.read(MAXIMUM_KEY_FILE)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        if re.fullmatch(r"[A-Za-z0-9+/]{40,}={0,2}", text):
            table.fail(file_key, f"found {shown(text)}, want a file's path; a key goes in {key}")
        table.fail(file_key, f'"{path}" cannot be read: {reason(error)}; want a readable key file')
    _warn_if_others_read(table.document, path, mode)
    try:
        return keys.decode(data.decode("ascii").strip())
    except ValueError:
        found = "nothing" if not data.strip() else f"{len(data.strip())} bytes"
        table.fail(file_key, f'found {found} in "{path}", want {values.KEY.wanted} there')


def _warn_if_others_read(document: Document, path: Path, mode: int) -> None:
    # A pipe, as in <(command), belongs to who made it.
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        warning = f'others can read "{path}", which holds a secret key: chmod go= "{path}"'
        if warning not in document.warnings:
            document.warnings.append(warning)


# Peers.


def _peers(tables: tuple[Table, ...], own_key: bytes) -> Iterator[PeerConfig]:
    key_owner: dict[bytes, Table] = {}
    prefix_owner: dict[Prefix, Table] = {}
    for position, table in enumerate(tables, 1):
        public_key = table.one("public_key", values.KEY)
        if public_key is None:
            table.missing("public_key", "the peer's public key (wgvx pubkey prints it)")
        if public_key == own_key:
            table.fail("public_key", "found this node's own key, want another node's")
        if (other := key_owner.setdefault(public_key, table)) is not table:
            table.fail("public_key", f"found the key of {other.place} again, want each once")
        # Within one peer a prefix may be repeated, as in wg(8).
        allowed_ips = tuple(dict.fromkeys(table.many("allowed_ips", values.PREFIX) or ()))
        for prefix in allowed_ips:
            if (other := prefix_owner.setdefault(prefix, table)) is not table:
                table.fail(
                    "allowed_ips",
                    f'found "{prefix}" of {other.place} again, want it under one peer',
                )
        name = table.one("name", values.LABEL)
        _warn_if_masked(table, f'peer "{name}"' if name else f"peer {position}")
        yield PeerConfig(
            public_key=public_key,
            name=name,
            preshared_key=_secret(table, "preshared_key"),
            endpoint=table.one("endpoint", values.ENDPOINT),
            allowed_ips=allowed_ips,
            persistent_keepalive=_or(
                table.integer("persistent_keepalive", 0, 65535, " seconds (0: off)"), 0
            ),
        )


def _warn_if_masked(table: Table, label: str) -> None:
    """Tell of the first allowed IP whose host bits, masked as wg(8) does, were perhaps meant."""
    written = table.many("allowed_ips", values.TEXT) or ()
    masked = [text for text in written if values.has_host_bits(text)]
    if masked:
        host = values.parse_prefix(masked[0].partition("/")[0])
        more = f" (and {len(masked) - 1} more like it)" if len(masked) > 1 else ""
        table.document.warnings.append(
            f"{label}: allowed_ips: {masked[0]} is read as {values.parse_prefix(masked[0])}; "
            f"for one host write {host}{more}"
        )


# Networks.


def _networks(
    tables: tuple[Table, ...], node: str, node_config: NodeConfig, own_key: bytes
) -> Iterator[NetworkConfig]:
    vni_owner: dict[int, Table] = {}
    attachments = Attachments(node, own_key, tables)
    for table in tables:
        vni = table.integer("vni", 0, (1 << 24) - 1)
        if vni is None:
            table.missing("vni", "a whole number from 0 to 16777215, the same on all its nodes")
        if (other := vni_owner.setdefault(vni, table)) is not table:
            table.fail("vni", f"found {vni} of {other.place} again, want each once")
        netns = table.one("netns", values.NETNS)
        written = attachments.read(table, vni, netns)
        attach = tuple(one.attach for one in written)
        addresses = table.many("address", values.INTERFACE) or ()
        _each_once(table, "address", (address.ip for address in addresses))
        remotes = table.many("remotes", values.ADDRESS)
        _each_once(table, "remotes", remotes or ())
        for remote in remotes or ():
            _check_family(table, "remotes", remote, node_config)
        macs = {one.mac for one in attach if one.mac is not None}
        yield NetworkConfig(
            vni=vni,
            attach=attach,
            addresses=addresses,
            mtu=table.integer("mtu", mtu.MINIMUM_MTU, mtu.MAXIMUM_OVERLAY_MTU, " bytes"),
            bridge=_bridge(table, attach),
            netns=netns,
            udp_port=_or(table.integer("udp_port", 1, 65535), DEFAULT_UDP_PORT),
            remotes=remotes,
            accept=table.many("accept", values.PREFIX),
            fdb=tuple(_fdb(table, macs, node_config)),
            learning=table.boolean("learning", True),
            ageing=_or(table.integer("ageing", 1, MAXIMUM_AGEING, " seconds"), DEFAULT_AGEING),
            max_entries=_or(table.integer("max_entries", 1, MAXIMUM_ENTRIES), DEFAULT_MAX_ENTRIES),
            clamp_mss=table.boolean("clamp_mss", True),
            **read_quiet(table),
        )


def read_quiet(table: Table) -> dict[str, Any]:
    """What keeps a network quiet, by key: what a table says, and else the defaults."""
    said: dict[str, Any] = {"sticky": table.boolean("sticky", False)}
    said["move_limit"] = table.integer("move_limit", 0, MAXIMUM_MOVES) or 0
    for key in quiet.LIMITS:
        said[key] = table.integer(key, 0, MAXIMUM_LIMIT, " frames a second") or 0
    for key in quiet.FEATURES:
        said[key] = table.boolean(key, False)
    return said


def _bridge(table: Table, attach: tuple[AttachConfig, ...]) -> str | None:
    bridge = table.one("bridge", values.DEVICE)
    if bridge is None:
        return None
    if "address" in table:
        table.fail(
            "bridge", "found address beside it, want one of the two: a bridge's member has none"
        )
    if any(bridge == one.name for one in attach):
        table.refuse("bridge", bridge, "the name of an existing bridge, not of this network's TAP")
    return bridge


def _fdb(table: Table, own_macs: set[bytes], node: NodeConfig) -> Iterator[FdbEntry]:
    seen: dict[bytes, list[Address]] = {}
    for entry in table.tables("fdb"):
        mac = entry.one("mac", values.ENTRY_MAC)
        vtep = entry.one("vtep", values.ADDRESS)
        if mac is None:
            entry.missing("mac", values.ENTRY_MAC.wanted)
        if vtep is None:
            entry.missing("vtep", values.ADDRESS.wanted)
        _check_family(entry, "vtep", vtep, node)
        text = values.format_mac(mac)
        if mac in own_macs:
            entry.fail("mac", f"found {text} of this network's own attachment, want a remote one")
        vteps = seen.setdefault(mac, [])
        if vtep in vteps:
            entry.fail("vtep", f"found {text} at {vtep} twice, want each entry once")
        if vteps and not mac[0] & 1:
            entry.fail("mac", f"found {text} at {vteps[0]} too, want one VTEP for a unicast MAC")
        vteps.append(vtep)
        yield FdbEntry(mac, vtep)


def _check_family(table: Table, key: str, remote: Address, node: NodeConfig) -> None:
    """A packet's tunnel source is our first address of the remote's family: there must be one."""
    if all(address.version != remote.version for address in node.addresses):
        table.refuse(
            key,
            str(remote),
            f"an address of a family in which [node] address has one (add an IPv{remote.version} "
            "address there)",
        )

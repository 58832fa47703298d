"""A plan out of wg-quick(8)'s files: the tunnels as they are, for tenants to be put on top.

A file is a site that runs the kernel's WireGuard; a peer without a file is one whose private key
stays where it is. Addresses, ports, keys and preshared keys are taken over, so that the first
render changes no tunnel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from wgvx import keys, mtu
from wgvx.config import Address, ConfigError, Prefix
from wgvx.config.values import is_unicast
from wgvx.fleet.keyring import Pair, pair
from wgvx.fleet.read import NO_SITE
from wgvx.fleet.wg_quick_reader import QuickFile, QuickPeer, public_key, read_quick


@dataclass(slots=True)
class Found:
    """A site as the files show it."""

    name: str
    public_key: bytes
    addresses: tuple[Address, ...]
    file: QuickFile | None
    endpoint: str | None = None
    keepalive: int = 0
    hub: bool = False
    via: str | None = None


@dataclass(slots=True)
class Import:
    """What is made of the files."""

    text: str
    """The plan."""
    private: dict[str, str] = field(repr=False)
    """By site, base64."""
    preshared: dict[Pair, str] = field(repr=False)
    notes: list[str]
    """What was not taken over, and what differs between files."""


def imported(paths: Sequence[Path]) -> Import:
    """Read the files of a fleet, one for each node; ConfigError where they cannot be used."""
    files = [read_quick(path) for path in paths]
    sites = _sites(files)
    notes = [
        f"{file.path}: not taken over: {', '.join(sorted(set(file.left_out)))}"
        for file in files
        if file.left_out
    ]
    preshared: dict[Pair, str] = {}
    everyone = {address: site for site in sites.values() for address in site.addresses}
    for site in sites.values():
        for peer in site.file.peers if site.file else ():
            other = sites[peer.public_key]
            if site.name == other.name:
                raise ConfigError(f"{site.file and site.file.path}: has itself as a peer")
            _learn(site, other, peer, preshared, notes)
            _learn_ways(site, other, peer, everyone, notes)
    prefixes = _tunnel(files, sites.values())
    for site in sites.values():
        if site.hub:
            site.via = None  # Hubs know each other.
    return Import(
        text=_plan(sites.values(), prefixes, bool(preshared)),
        private={
            site.name: keys.encode(site.file.private_key) for site in sites.values() if site.file
        },
        preshared=preshared,
        notes=notes,
    )


def _sites(files: Iterable[QuickFile]) -> dict[bytes, Found]:
    """By public key: those with a file, then those that only others know."""
    sites: dict[bytes, Found] = {}
    names: set[str] = set()
    files = list(files)
    for file in files:
        key = public_key(file)
        if key in sites:
            raise ConfigError(f"{file.path}: has the key of another file, want one for each node")
        addresses = tuple(address.ip for address in file.addresses)
        sites[key] = Found(_name(file.path.stem, names), key, addresses, file)
    for peer in (peer for file in files for peer in file.peers):
        if peer.public_key not in sites:
            hosts = tuple(
                prefix.network_address
                for prefix in peer.allowed_ips
                if prefix.prefixlen == prefix.max_prefixlen and is_unicast(prefix.network_address)
            )
            name = _name(peer.name or "peer", names)
            sites[peer.public_key] = Found(name, peer.public_key, hosts, None)
    return sites


def _name(wanted: str, taken: set[str]) -> str:
    """A site's name as near to `wanted` as can be."""
    stem = re.sub(r"[^a-z0-9-]+", "-", wanted.lower())[:12].strip("-") or "site"
    name, number = stem, 1
    while name in taken or name in NO_SITE:
        number += 1
        name = f"{stem}{number}"
    taken.add(name)
    return name


def _learn(
    site: Found, other: Found, peer: QuickPeer, preshared: dict[Pair, str], notes: list[str]
) -> None:
    """What a site's file says of another site."""
    site.keepalive = max(site.keepalive, peer.keepalive)
    if peer.endpoint is not None:
        if other.endpoint not in (None, str(peer.endpoint)):
            notes.append(
                f'site "{other.name}": {site.name} has {peer.endpoint} as its endpoint, and '
                f"{other.endpoint} is taken"
            )
        else:
            other.endpoint = str(peer.endpoint)
    if peer.preshared_key is not None:
        key = keys.encode(peer.preshared_key)
        if preshared.setdefault(pair(site.name, other.name), key) != key:
            names = " and ".join(pair(site.name, other.name))
            raise ConfigError(f"sites {names} have different preshared keys for each other")


def _learn_ways(
    site: Found,
    other: Found,
    peer: QuickPeer,
    everyone: Mapping[Address, Found],
    notes: list[str],
) -> None:
    """A hub is whoever others are behind; a network without a site in it is none of a plan's."""
    for prefix in peer.allowed_ips:
        behind = {found.name for address, found in everyone.items() if address in prefix}
        if behind - {site.name, other.name}:
            other.hub = True
            site.via = other.name
        elif other.name not in behind:
            notes.append(
                f'site "{site.name}": not taken over: {prefix} behind "{other.name}", which is no '
                "site's"
            )


def _tunnel(files: Iterable[QuickFile], sites: Iterable[Found]) -> list[Prefix]:
    """The smallest prefix of a family that has everyone's address, and is no smaller than any that
    an interface has."""
    found: list[Prefix] = []
    every = [address for site in sites for address in site.addresses]
    networks = [interface.network for file in files for interface in file.addresses]
    for version in (4, 6):
        hosts = [address for address in every if address.version == version]
        if not hosts:
            continue
        own = [network for network in networks if network.version == version]
        length = min([network.prefixlen for network in own] + [30 if version == 4 else 126])
        kind = IPv4Network if version == 4 else IPv6Network
        prefix: Prefix = kind((int(hosts[0]), length), strict=False)
        # The first and the last address are no host's.
        while not all(_is_host(address, prefix) for address in hosts):
            prefix = prefix.supernet()
        found.append(prefix)
    return found


def _is_host(address: Address, prefix: Prefix) -> bool:
    last = int(prefix.broadcast_address) + (prefix.version == 6)
    return int(prefix.network_address) < int(address) < last


def _plan(sites: Iterable[Found], prefixes: Sequence[Prefix], preshared: bool) -> str:
    sites = list(sites)
    lines = [
        "# Made of wg-quick's files. Put tenants on top, then: wgvx fleet check, wgvx fleet render",
        "",
        "[fleet]",
        f"tunnel = {json.dumps([str(prefix) for prefix in prefixes])}",
    ]
    if any(site.hub for site in sites):
        lines.append('topology = "hub-and-spoke"')
    if not preshared:
        lines.append("preshared_keys = false")
    for site in sites:
        lines += ["", "[[site]]", f'name = "{site.name}"', 'kind = "kernel"']
        if site.endpoint is not None:
            lines.append(f"endpoint = {json.dumps(site.endpoint)}")
        lines += _rest(site, prefixes)
    lines += ["", "# [[tenant]]", '# name = "blue"', "# vni = 4200", '# prefix = ["10.0.0.0/24"]']
    return "\n".join(lines) + "\n"


def _rest(site: Found, prefixes: Sequence[Prefix]) -> Iterable[str]:
    file = site.file
    if file is not None and file.listen_port is not None:
        yield f"listen_port = {file.listen_port}"
    if site.keepalive or site.endpoint is None:
        yield f"keepalive = {site.keepalive}"
    if site.hub:
        yield "hub = true"
    if site.via is not None:
        yield f'via = "{site.via}"'
    if file is not None and file.mtu is not None:
        yield f"underlay_mtu = {file.mtu + mtu.OUTER_OVERHEAD}"
    for address in site.addresses:
        if address in prefixes[0]:
            yield f'tunnel = "{address}"'
            break
    if file is None:
        yield f'public_key = "{keys.encode(site.public_key)}"'

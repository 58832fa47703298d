"""`wgvx check`: validate a node's file and explain what it means, without starting anything."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wgvx import keys, mtu
from wgvx.cli import output, ports
from wgvx.config import (
    AttachConfig,
    Config,
    NetworkConfig,
    PeerConfig,
    TapAttach,
    find,
    flood_list,
    format_mac,
    load,
    mtu_warnings,
    overlaps,
    peer_labels,
    quiet,
)
from wgvx.config.describe import describe
from wgvx.config.places import places_of
from wgvx.route import route_mtu

DESCRIPTION = """\
Read a node's file as `wgvx up` would, and say what follows from it: the addresses, who
floods to whom, which prefixes overlap, how the MTUs come about, and what is odd. Nothing is
started, nothing is sent, no name is looked up.
"""

EPILOG = """\
example:
  wgvx check ./a.toml       a path: it has a slash or ends in .toml
  wgvx check a              a.toml in ~/.config/wgvx or /etc/wgvx
  wgvx check a --json       the same for programs

exit status: 0 the file is valid, with or without warnings, 2 it is not: the message names
file, line, key and what was wanted
"""

MAXIMUM_LISTED = 8
"""Items of a list that are shown to people; --json has them all."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `wgvx check`."""
    parser = subparsers.add_parser(
        "check",
        help="validate a file and explain what it means",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a file, or the name of a node")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Check and explain."""
    config = load(find(args.name))
    tunnel = _tunnel(config)
    found = [
        *config.warnings,
        *(text for text in mtu_warnings(config, tunnel.mtu) if text not in config.warnings),
        *_route_warnings(config, tunnel),
        *_folder_warnings(config),
    ]
    if args.json:
        output.emit_json(_as_json(config, tunnel, found))
        return 0
    output.line(f'{config.path}: valid, node "{config.name}"')
    _explain_node(config)
    labels = peer_labels(config)
    for peer in config.peers:
        _explain_peer(labels[peer.public_key], peer)
    for network in config.networks:
        _explain_network(config, network, tunnel.mtu)
    _explain_mtu(config, tunnel)
    _explain_list("overlaps", overlaps(config))
    _explain_list("warnings", found)
    return 0


class Route(NamedTuple):
    """The way to one peer's configured endpoint."""

    peer: PeerConfig
    mtu: int | None
    """None: no route, or the endpoint is a name."""


class Tunnel(NamedTuple):
    """The tunnel MTU and where it comes from."""

    mtu: int
    source: str
    """file, routes or default."""
    routes: list[Route]


def _tunnel(config: Config) -> Tunnel:
    routes = [
        Route(peer, route_mtu(peer.endpoint.host, peer.endpoint.port))
        for peer in config.peers
        if peer.endpoint is not None
    ]
    known = [route.mtu for route in routes if route.mtu is not None]
    if config.node.mtu is not None:
        return Tunnel(config.node.mtu, "file", routes)
    return Tunnel(mtu.tunnel_mtu(known), "routes" if known else "default", routes)


def _route_warnings(config: Config, tunnel: Tunnel) -> list[str]:
    """Peers whose route cannot carry a full packet of a tunnel MTU from the file."""
    labels = peer_labels(config)
    found = []
    for peer, route in tunnel.routes:
        if route is None or peer.endpoint is None:
            continue
        family = 6 if ":" in peer.endpoint.host else 4
        needed = tunnel.mtu + mtu.outer_overhead(family)
        if needed > route:
            found.append(
                f"{labels[peer.public_key]}: a full tunnel packet of {tunnel.mtu} makes {needed} "
                f"bytes and the route carries {route}: it will be fragmented or lost"
            )
    return found


def _folder_warnings(config: Config) -> Iterator[str]:
    """Sockets that could not be made now."""
    for network in config.networks:
        for attach in network.attach:
            for key, _, place in places_of(attach):
                if isinstance(place, Path) and not place.parent.is_dir():
                    yield (
                        f"network {network.vni}: {attach.name}, {key}: there is no folder "
                        f"{place.parent} yet"
                    )


# For people.


def _explain_node(config: Config) -> None:
    node = config.node
    rows = [
        ("public key", keys.encode(keys.public_key(node.private_key))),
        ("listen port", str(node.listen_port) if node.listen_port else "any free one"),
        ("tunnel addresses", _some(node.addresses)),
    ]
    if node.forward:
        rows.append(("forward", "yes: a hub that relays between its peers"))
    if node.fwmark:
        rows.append(("fwmark", f"{node.fwmark:#x}"))
    if node.state_dir is not None:
        rows.append(("state", str(node.state_dir)))
    _explain_block("node", rows)


def _explain_peer(label: str, peer: PeerConfig) -> None:
    rows = [
        ("public key", keys.encode(peer.public_key)),
        ("endpoint", "learned when it calls" if peer.endpoint is None else str(peer.endpoint)),
        ("allowed IPs", _some(peer.allowed_ips)),
    ]
    if peer.preshared_key is not None:
        rows.append(("preshared key", "yes"))
    if peer.persistent_keepalive:
        rows.append(("keepalive", f"every {peer.persistent_keepalive} s"))
    _explain_block(label, rows)


def _explain_network(config: Config, network: NetworkConfig, tunnel: int) -> None:
    remotes = flood_list(config, network)
    followed = network.remotes is None and remotes
    origin = " (the first host address of each peer)" if followed else ""
    rows: list[tuple[str, str]] = []
    for one in network.attach:
        rows += ports.rows(_port_json(one))
    if network.netns is not None:
        rows.append(("namespace", network.netns))
    if network.bridge is not None:
        rows.append(("bridge", network.bridge))
    if any(isinstance(one, TapAttach) for one in network.attach):
        rows.append(("addresses", _some(network.addresses)))
    rows.append(("MTU", str(_overlay(network, tunnel))))
    rows.append(("UDP port", str(network.udp_port)))
    rows.append(("floods to", _some(remotes) + origin))
    rows.append(("hears", "any peer" if network.accept is None else _some(network.accept)))
    learning = f"for {network.ageing} s, at most {network.max_entries} addresses"
    rows.append(("learning", learning if network.learning else "off"))
    rows.append(("TCP", "held to the MTU" if network.clamp_mss else "as hosts ask for"))
    rows.append(("quiet", quiet.words(quiet.settings(network))))
    if network.fdb:
        entries = [f"{format_mac(entry.mac)} at {entry.vtep}" for entry in network.fdb]
        rows.append(("static entries", _some(entries)))
    _explain_block(f"network {network.vni}", rows)


def _explain_mtu(config: Config, tunnel: Tunnel) -> None:
    output.heading("MTU")
    labels = peer_labels(config)
    for peer, route in tunnel.routes:
        said = f"route MTU {route}" if route else "no route known (a name is not looked up here)"
        output.line(f"  {labels[peer.public_key]} at {peer.endpoint}: {said}")
    if tunnel.source == "file":
        output.line(f"  tunnel: {tunnel.mtu}, as [node] mtu says")
    else:
        lowest = min(
            (route.mtu for route in tunnel.routes if route.mtu), default=mtu.DEFAULT_ROUTE_MTU
        )
        origin = "the lowest of these routes" if tunnel.source == "routes" else "no route known"
        left = lowest - mtu.OUTER_OVERHEAD
        held = "" if left == tunnel.mtu else f", held to {tunnel.mtu}"
        output.line(
            f"  tunnel: {lowest} ({origin}) - {mtu.IPV6_HEADER} outer IP - {mtu.UDP_HEADER} UDP"
            f" - {mtu.WIREGUARD_OVERHEAD} WireGuard = {left}{held}"
        )
    for network in config.networks:
        if network.mtu is not None:
            output.line(f"  network {network.vni}: {network.mtu}, as its mtu says")
        else:
            output.line(
                f"  network {network.vni}: {tunnel.mtu} - {mtu.IPV6_HEADER} tunnel IP"
                f" - {mtu.UDP_HEADER} UDP - {mtu.VXLAN_HEADER} VXLAN"
                f" - {mtu.ETHERNET_HEADER} Ethernet = {_overlay(network, tunnel.mtu)}"
            )
    output.line("  IP headers count as IPv6's 40 whichever is used, so that all ends agree")
    if config.node.probe_mtu:
        follows = "wgvx up only warns" if config.node.mtu else "the lowest counts"
        output.line(f"  paths to peers in use are probed: where one carries less, {follows}")


def _overlay(network: NetworkConfig, tunnel: int) -> int:
    return mtu.overlay_mtu(tunnel) if network.mtu is None else network.mtu


def _explain_block(title: str, rows: Sequence[tuple[str, str]]) -> None:
    output.heading(title)
    output.fields(rows)


def _explain_list(title: str, sentences: Sequence[str]) -> None:
    output.heading(title)
    for sentence in sentences or ("none",):
        output.line(f"  {sentence}")


def _some(items: Iterable[object]) -> str:
    return output.some(items, MAXIMUM_LISTED)


# For programs.


def _as_json(config: Config, tunnel: Tunnel, found: Sequence[str]) -> dict[str, object]:
    node = config.node
    return {
        "name": config.name,
        "path": str(config.path),
        "public_key": keys.encode(keys.public_key(node.private_key)),
        "listen_port": node.listen_port,
        "address": _texts(node.addresses),
        "fwmark": node.fwmark,
        "forward": node.forward,
        "mtu": tunnel.mtu,
        "mtu_source": tunnel.source,
        "probe_mtu": node.probe_mtu,
        "peers": [_peer_json(peer, tunnel) for peer in config.peers],
        "networks": [_network_json(config, network, tunnel.mtu) for network in config.networks],
        "overlaps": overlaps(config),
        "warnings": list(found),
    }


def _peer_json(peer: PeerConfig, tunnel: Tunnel) -> dict[str, object]:
    return {
        "name": peer.name,
        "public_key": keys.encode(peer.public_key),
        "preshared": peer.preshared_key is not None,
        "endpoint": None if peer.endpoint is None else str(peer.endpoint),
        "allowed_ips": _texts(peer.allowed_ips),
        "persistent_keepalive": peer.persistent_keepalive,
        "route_mtu": next((route.mtu for route in tunnel.routes if route.peer is peer), None),
    }


def _network_json(config: Config, network: NetworkConfig, tunnel: int) -> dict[str, object]:
    return {
        "vni": network.vni,
        "attach": [_port_json(one) for one in network.attach],
        "address": _texts(network.addresses),
        "mtu": _overlay(network, tunnel),
        "bridge": network.bridge,
        "netns": network.netns,
        "udp_port": network.udp_port,
        "remotes": _texts(flood_list(config, network)),
        "accept": None if network.accept is None else _texts(network.accept),
        "fdb": [{"mac": format_mac(entry.mac), "vtep": str(entry.vtep)} for entry in network.fdb],
        "learning": network.learning,
        "ageing": network.ageing,
        "max_entries": network.max_entries,
        "clamp_mss": network.clamp_mss,
        **quiet.settings(network),
    }


def _port_json(attach: AttachConfig) -> dict[str, object]:
    return describe(attach) | {"mac": None if attach.mac is None else format_mac(attach.mac)}


def _texts(items: Iterable[object]) -> list[str]:
    return [str(item) for item in items]

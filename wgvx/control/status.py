"""What ``wgvx show --json`` and ``wgvx fdb --json`` print of a running node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from wgvx import offloads
from wgvx.config import AttachConfig, DgramAttach, StreamAttach, format_mac, quiet
from wgvx.config.describe import describe
from wgvx.control.prefix import format_address, format_prefix
from wgvx.engine import Engine, PeerInfo
from wgvx.keys import encode
from wgvx.node import Node
from wgvx.ports.maker import Port
from wgvx.ports.stack import StackPort
from wgvx.pump import clock
from wgvx.underlay import format_endpoint
from wgvx.vxlan.fdb import Local, Remote
from wgvx.wireguard.constants import SECOND


def show(node: Node, *, prefixes: bool = True) -> dict[str, Any]:
    """The node as one JSON object; without the peers' ``prefixes``, of which each may have a great
    many, for who asks often."""
    engine, dataplane = node.engine, node.dataplane
    public_key = engine.device.public_key
    return {
        "name": node.config.name,
        "public_key": encode(public_key) if public_key else None,
        "started": node.started,
        "listen_port": node.listen_port,
        "dataplane": dataplane.name,
        "aead": dataplane.aead,
        "workers": node.workers,
        "offloads": {name: name in dataplane.offloads for name in offloads.NAMES},
        "confinement": asdict(node.confinement),
        "tunnel_mtu": engine.tunnel_mtu,
        "peers": [_peer(node, info, prefixes=prefixes) for info in engine.peers.values()],
        "networks": [_network(node, vni) for vni in engine.networks],
        "drops": {reason.value: count for reason, count in dataplane.drops().items()},
    }


def _peer(node: Node, info: PeerInfo, *, prefixes: bool) -> dict[str, Any]:
    dataplane = node.dataplane
    allowed_ips = dataplane.allowed_ips(info.id) if prefixes else ()
    endpoint = dataplane.endpoint(info.id)
    counters = dataplane.peer_counters(info.id)
    return {
        "public_key": encode(info.public_key),
        "name": info.name,
        "endpoint": format_endpoint(endpoint) if endpoint else None,
        "allowed_ips": [format_prefix(prefix) for prefix in allowed_ips],
        "latest_handshake": node.engine.device.latest_handshake(info.id) // SECOND,
        "rx_bytes": counters.rx_bytes,
        "tx_bytes": counters.tx_bytes,
        "path_mtu": node.engine.paths.mtu(info.id),
        "persistent_keepalive": node.engine.device.persistent_keepalive(info.id),
    }


def _network(node: Node, vni: int) -> dict[str, Any]:
    counters = node.dataplane.network_counters(vni)
    own = [entry for entry in node.attachments if entry[0].vni == vni]
    return {
        "vni": vni,
        "attach": [_port(attach, node.devices[port]) for _, attach, port in own],
        "down": [attach.name for _, attach, port in own if not node.devices[port].fds],
        "mtu": node.engine.overlay_mtu(own[0][0]) if own else None,
        "fdb_entries": counters.fdb_entries,
        "ageing": node.engine.networks[vni].ageing,
        "rx_frames": counters.rx_frames,
        "tx_frames": counters.tx_frames,
        "moves": counters.moves,
        "quiet": _quiet(node.engine, vni),
    }


def _quiet(engine: Engine, vni: int) -> dict[str, Any]:
    """The settings that keep a network quiet; of each feature that is on, what it has seen."""
    seen = engine.quiet[vni].show(clock())
    off = dict.fromkeys(quiet.FEATURES)
    return quiet.settings(engine.networks[vni]) | off | seen


def _port(attach: AttachConfig, device: Port) -> dict[str, Any]:
    described = describe(attach)
    if isinstance(attach, StreamAttach | DgramAttach):
        described["connected"] = bool(device.fds)
    if isinstance(device, StackPort):
        described["counters"] = device.counters()
    return described


def fdb(node: Node, vni: int | None) -> Iterator[dict[str, Any]]:
    """The forwarding tables of one network, or of all, row by row: there may be a great many."""
    names = _port_names(node)
    now = clock()
    for number in list(node.engine.networks):
        if vni in (None, number):
            times = {move.mac: move.times for move in node.dataplane.fdb_moves(number)}
            for row in node.dataplane.fdb_rows(number, now):
                yield {
                    "vni": number,
                    "mac": format_mac(row.mac),
                    **_place(row.where, names),
                    "state": row.state.value,
                    "age": row.age_seconds,
                    "moves": times.get(row.mac, 0),
                }


def fdb_moves(node: Node, vni: int | None) -> list[dict[str, Any]]:
    """The stations that moved last, of one network or of all; whoever moved last comes last."""
    names = _port_names(node)
    now = clock()
    return [
        {
            "vni": number,
            "mac": format_mac(move.mac),
            "from": _place(move.before, names),
            "to": _place(move.after, names),
            "ago": max(0, now - move.at) // SECOND,
            "times": move.times,
            "held": max(0, move.held_until - now) // SECOND,
        }
        for number in node.engine.networks
        if vni in (None, number)
        for move in node.dataplane.fdb_moves(number)
    ]


def _port_names(node: Node) -> dict[int, str]:
    return {port: attach.name for _, attach, port in node.attachments}


def _place(where: Remote | Local, names: dict[int, str]) -> dict[str, str | None]:
    return {
        "vtep": format_address(where.vtep) if isinstance(where, Remote) else None,
        "port": names.get(where.port) if isinstance(where, Local) else None,
    }

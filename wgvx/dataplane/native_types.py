"""What crosses the border between Python and the native data plane, there and back (wgvx.h)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wgvx import _native  # type: ignore[attr-defined]
from wgvx.dataplane.captured import Captured, Passed
from wgvx.dataplane.interface import Network, Watched
from wgvx.vxlan.fdb import Local, Remote, Row, State
from wgvx.vxlan.moves import Move
from wgvx.vxlan.vtep import Forwarding
from wgvx.wireguard.sessions import Endpoint

ffi: Any = _native.ffi

_WHATS = tuple(Passed)
_STATES = (State.DYNAMIC, State.STATIC, State.LOCAL)


def pack_settings(network: Network) -> tuple[Any, Any]:
    """wgvx_network_settings, and what has to live as long."""
    settings = ffi.new("wgvx_network_settings *")
    settings.learning, settings.sticky = network.learning, network.sticky
    settings.ageing, settings.max_entries = network.ageing, network.max_entries
    settings.move_limit = network.move_limit
    settings.limits = network.limits
    settings.watch = network.watch.value
    settings.mss = network.mss
    if network.accept is None:
        return settings, None
    packed = [bytes([len(n), length]) + n.ljust(16, b"\0") for n, length in network.accept]
    settings.accept = accept = ffi.new("uint8_t[][18]", packed or 1)
    settings.accepted = len(packed)
    return settings, accept


def pack_places(places: Sequence[Local | Remote]) -> Any:
    """wgvx_place, one at least."""
    packed = ffi.new("wgvx_place[]", len(places) or 1)
    for i, place in enumerate(places):
        if isinstance(place, Local):
            packed[i].port = place.port
        else:
            packed[i].vtep_length = len(place.vtep)
            ffi.memmove(packed[i].vtep, place.vtep, len(place.vtep))
    return packed


def pack_forwarding(to: Forwarding | None) -> tuple[Any, int]:
    """wgvx_place, the ports before the VTEPs, and how many they are; NULL for None."""
    if to is None:
        return ffi.NULL, 0
    places: list[Local | Remote] = [Local(port) for port in to.ports]
    places += [Remote(vtep) for vtep in to.remotes]
    return pack_places(places), len(places)


def pack_endpoint(endpoint: Endpoint) -> Any:
    """wgvx_endpoint."""
    packed = ffi.new("wgvx_endpoint *")
    packed.ip_length, packed.port = len(endpoint.ip), endpoint.port
    packed.local_length, packed.scope = len(endpoint.local), endpoint.scope
    packed.interface = endpoint.interface
    ffi.memmove(packed.ip, endpoint.ip, len(endpoint.ip))
    ffi.memmove(packed.local, endpoint.local, len(endpoint.local))
    return packed


def unpack_endpoint(packed: Any) -> Endpoint:
    """An endpoint."""
    ip = bytes(ffi.buffer(packed.ip, packed.ip_length))
    local = bytes(ffi.buffer(packed.local, packed.local_length))
    return Endpoint(ip, packed.port, packed.scope, local, packed.interface)


def unpack_row(row: Any) -> Row:
    """A row of a forwarding table."""
    where = _where(row.vtep, row.vtep_length, row.port)
    age = None if row.age_seconds < 0 else int(row.age_seconds)
    return Row(bytes(ffi.buffer(row.mac)), where, _STATES[row.state], age)


def unpack_move(move: Any) -> Move:
    """A station's last move."""
    before = _where(move.from_vtep, move.from_length, move.from_port)
    after = _where(move.to_vtep, move.to_length, move.to_port)
    times = (move.at, move.times, move.held_until, move.window, move.recent)
    return Move(bytes(ffi.buffer(move.mac)), before, after, *map(int, times))


def _where(vtep: Any, length: int, port: int) -> Remote | Local:
    return Remote(bytes(ffi.buffer(vtep, length))) if length else Local(port)


def unpack_watched(watched: Any) -> Watched:
    """A frame that its network watches."""
    origin = _where(watched.vtep, watched.vtep_length, watched.port)
    return Watched(int(watched.vni), origin, bytes(ffi.buffer(watched.data, watched.length)))


def unpack_captured(room: Any, used: int) -> Iterator[Captured]:
    """Copies of what passed, one behind the other in ``used`` bytes of ``room``."""
    size = ffi.sizeof("wgvx_captured")
    at = 0
    while at < used:
        head = ffi.cast("wgvx_captured *", room + at)
        what = _WHATS[head.what]
        yield Captured(
            int(head.at),
            what,
            int(head.length),
            bytes(ffi.buffer(room + at + size, head.captured)),
            int(head.port),
            None if what.is_frame else unpack_endpoint(head.endpoint),
            int(head.tos),
        )
        at += size + (head.captured + 7 & ~7)

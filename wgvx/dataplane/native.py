"""The native data plane: wgvx/dataplane/interface.py in C (native/), burst by burst.

Equal to the reference in everything that can be seen. Python is called for what is rare: events,
handshake messages, and packets for our own addresses that are fragments, pings or have extension
headers, which the same Python code deals with in both (:mod:`wgvx.dataplane.rare`).

Two ways of use. On buffers, as tests and loop-driven ports do; or with workers
(:meth:`NativeDataPlane.start`): threads that read TAPs and sockets by themselves, and leave for
Python what :meth:`NativeDataPlane.collect` takes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, takewhile
from operator import attrgetter
from typing import Any

from wgvx import _native  # type: ignore[attr-defined]
from wgvx.dataplane.captured import Capture, Captured
from wgvx.dataplane.interface import (
    Burst,
    Datagram,
    Framing,
    Network,
    NetworkCounters,
    PeerCounters,
    WorkerDataPlane,
)
from wgvx.dataplane.native_types import (
    ffi,
    pack_endpoint,
    pack_forwarding,
    pack_places,
    pack_settings,
    unpack_captured,
    unpack_endpoint,
    unpack_move,
    unpack_row,
    unpack_watched,
)
from wgvx.dataplane.rare import RarePackets
from wgvx.drops import Drop, Reason
from wgvx.vxlan.fdb import Local, Remote, Row
from wgvx.vxlan.ip import IpPacket
from wgvx.vxlan.moves import MOVES_KEPT, Move
from wgvx.vxlan.vtep import Forwarding
from wgvx.wireguard import cookie
from wgvx.wireguard.allowed_ips import Prefix
from wgvx.wireguard.noise import TransportKeys
from wgvx.wireguard.sessions import CookieDemand, Endpoint, Event, HandshakeMessage, Stamps

lib: Any = _native.lib

SPARE = 65536
"""Bytes of copies that may come while the others are taken."""

_REASONS = {reason: number for number, reason in enumerate(Reason)}


def _names(ask: Any) -> list[str]:
    pointers = takewhile(lambda name: name != ffi.NULL, map(ask, count()))
    return [ffi.string(name).decode() for name in pointers]


if _names(lib.wgvx_reason_name) != [reason.value for reason in Reason]:
    raise ImportError("wgvx._native was built for another version of wgvx: install anew")


def aead_names() -> dict[str, bool]:
    """The AEAD libraries built in, best first, and whether each works here."""
    return {name: bool(lib.wgvx_aead_works(name.encode())) for name in _names(lib.wgvx_aead_name)}


class NativeDataPlane(WorkerDataPlane):
    """See :class:`~wgvx.dataplane.interface.DataPlane`. ``aead`` names a library, None: the best.

    Raises ValueError for a library that is not here.
    """

    name = "native"

    def __init__(self, aead: str | None = None) -> None:
        super().__init__()
        plane = lib.wgvx_new(aead.encode() if aead else ffi.NULL)
        if plane == ffi.NULL:
            raise ValueError(f"no AEAD library {aead!r} here: there is {', '.join(aead_names())}")
        self._plane = ffi.gc(plane, lib.wgvx_free)
        self.aead = ffi.string(lib.wgvx_aead(plane)).decode()
        self._burst = Burst()
        self._rare = RarePackets(self)

    # --- first level -------------------------------------------------------------------------

    def receive(self, datagrams: Sequence[Datagram], now: int) -> Burst:
        for size, run in _runs(datagrams):
            data = bytearray(b"".join(datagram.data for datagram in run))
            buffer = ffi.from_buffer(data)
            sender, tos = pack_endpoint(run[0].endpoint), run[0].tos
            done = 0
            while True:
                done += lib.wgvx_receive(
                    self._plane, buffer + done, len(data) - done, size, sender, tos, now
                )
                self._drain(now)
                if done >= len(data):
                    break
        return self.take()

    def transmit(self, port: int, frames: Sequence[bytes], now: int) -> Burst:
        for frame in frames:
            lib.wgvx_transmit(self._plane, port, ffi.NULL, frame, len(frame), now)
            self._drain(now)
        return self.take()

    def transmit_large(self, port: int, header: bytes, frame: bytes, now: int) -> Burst:
        """A frame as a TAP with offloads hands it over, behind its virtio-net header."""
        lib.wgvx_transmit(self._plane, port, header, frame, len(frame), now)
        self._drain(now)
        return self.take()

    def take(self) -> Burst:
        self._drain(0)
        burst, self._burst = self._burst, Burst()
        return burst

    def _drain(self, now: int) -> None:
        """Take what the last call left. Rare packets may leave more."""
        plane, burst = self._plane, self._burst
        pending = lib.wgvx_pending(plane)
        for i in range(pending.messages):
            message = lib.wgvx_take_message(plane, i)
            data = bytes(ffi.buffer(message.data, message.length))
            burst.datagrams.append(Datagram(data, unpack_endpoint(message.endpoint), message.tos))
        for i in range(pending.frames):
            frame = lib.wgvx_take_frame(plane, i)
            burst.frames.append((frame.port, bytes(ffi.buffer(frame.data, frame.length))))
        for i in range(pending.events):
            asked = lib.wgvx_take_event(plane, i)
            event = burst.events.get(asked.peer, Event(0)) | Event(asked.events)
            burst.events[asked.peer] = event
        for i in range(pending.handshakes):
            waiting = lib.wgvx_take_handshake(plane, i)
            data = bytes(ffi.buffer(waiting.data, waiting.length))
            endpoint = unpack_endpoint(ffi.addressof(waiting, "endpoint"))
            burst.handshakes.append(HandshakeMessage(data, endpoint))
        for i in range(pending.watched):
            burst.watched.append(unpack_watched(lib.wgvx_take_watched(plane, i)))
        rare = []
        for i in range(pending.rare):
            packet = lib.wgvx_take_rare(plane, i)
            rare.append((packet.peer, bytes(ffi.buffer(packet.data, packet.length))))
        lib.wgvx_clear(plane)
        for peer, data in rare:
            try:
                self._rare.deliver(peer, data, now)
            except Drop as drop:
                self.count(drop.reason)

    # --- what the code of rare packets and watched frames asks for --------------------------

    def decapsulate(self, packet: IpPacket, now: int) -> None:
        """A whole UDP packet for us."""
        segment = ffi.from_buffer(bytearray(packet.payload))
        ends = packet.source, packet.destination, len(packet.source)
        lib.wgvx_deliver(self._plane, *ends, packet.ecn, segment, len(segment), now)
        self._drain(now)

    def send_packet(self, packet: bytes, now: int) -> None:
        """A tunnel packet of our own."""
        lib.wgvx_route_out(self._plane, packet, len(packet), now)
        self._drain(now)

    def forward_frame(
        self, vni: int, origin: Local | Remote, frame: bytes, now: int, to: Forwarding | None = None
    ) -> bool:
        place = pack_places([origin])
        data = frame, len(frame), now
        went = lib.wgvx_forward_frame(self._plane, vni, place, *data, *pack_forwarding(to))
        self._drain(now)
        return bool(went)

    def send_frame(self, vni: int, to: Forwarding, frame: bytes, now: int) -> None:
        lib.wgvx_send_frame(self._plane, vni, *pack_forwarding(to), frame, len(frame), now)
        self._drain(now)

    def next_identification(self) -> int:
        return int(lib.wgvx_next_identification(self._plane))

    # --- Sessions ----------------------------------------------------------------------------

    def index_peer(self, index: int) -> int | None:
        peer = ffi.new("uint32_t *")
        return int(peer[0]) if lib.wgvx_index_peer(self._plane, index, peer) else None

    def open_handshake(self, index: int) -> None:
        _enough(lib.wgvx_open_handshake(self._plane, index))

    def close_handshake(self, index: int) -> None:
        lib.wgvx_close_handshake(self._plane, index)

    def install(
        self,
        peer: int,
        *,
        local_index: int,
        remote_index: int,
        keys: TransportKeys,
        initiator: bool,
        now: int,
    ) -> None:
        _enough(
            lib.wgvx_install(
                self._plane,
                peer,
                local_index,
                remote_index,
                keys.send,
                keys.receive,
                initiator,
                now,
            )
        )

    def has_endpoint(self, peer: int) -> bool:
        return self.endpoint(peer) is not None

    def forget_local_address(self, peer: int) -> None:
        lib.wgvx_forget_local_address(self._plane, peer)

    def received_handshake(self, peer: int, endpoint: Endpoint, length: int, now: int) -> None:
        lib.wgvx_received_handshake(self._plane, peer, pack_endpoint(endpoint), length, now)

    def send_handshake(self, peer: int, message: bytes, now: int) -> None:
        lib.wgvx_send_handshake(self._plane, peer, message, len(message), now)

    def reply(self, endpoint: Endpoint, message: bytes) -> None:
        lib.wgvx_reply(self._plane, pack_endpoint(endpoint), message, len(message))

    def send_staged(self, peer: int, now: int, *, or_keepalive: bool) -> bool:
        return bool(lib.wgvx_send_staged(self._plane, peer, now, or_keepalive))

    def drop_staged(self, peer: int, reason: Reason) -> None:
        dropped = lib.wgvx_drop_staged(self._plane, peer)
        lib.wgvx_count(self._plane, _REASONS[reason], dropped)

    def forget_keys(self, peer: int) -> None:
        lib.wgvx_forget_keys(self._plane, peer)

    def expire_sending_keys(self) -> None:
        lib.wgvx_expire_sending_keys(self._plane)

    def stamps(self, peer: int) -> Stamps:
        state = self._state(peer)
        return Stamps(
            state.last_tx,
            state.last_rx,
            state.first_unanswered_tx,
            state.first_unanswered_rx,
            bool(state.more_unanswered_rx),
        )

    def disarm(self, peer: int, events: Event) -> None:
        lib.wgvx_disarm(self._plane, peer, events.value)

    def demand_cookies(self, demand: CookieDemand) -> None:
        lib.wgvx_demand_mac2(self._plane, demand.secret, demand.nonce_key, demand.until)

    def count(self, reason: Reason) -> None:
        lib.wgvx_count(self._plane, _REASONS[reason], 1)

    # --- the node ----------------------------------------------------------------------------

    def set_public_key(self, public_key: bytes | None) -> None:
        if public_key is None:
            lib.wgvx_set_public_key(self._plane, ffi.NULL, ffi.NULL)
        else:
            mac1_key, cookie_key = cookie.mac1_key(public_key), cookie.cookie_key(public_key)
            lib.wgvx_set_public_key(self._plane, mac1_key, cookie_key)

    def set_addresses(self, addresses: Iterable[bytes]) -> None:
        ordered = list(addresses)
        packed = ffi.new("uint8_t[][16]", [address.ljust(16, b"\0") for address in ordered])
        lengths = bytes(map(len, ordered))
        _enough(lib.wgvx_set_addresses(self._plane, packed, lengths, len(ordered)))

    def set_mtu(self, mtu: int) -> None:
        lib.wgvx_set_mtu(self._plane, mtu)

    def set_forward(self, forward: bool) -> None:
        lib.wgvx_set_forward(self._plane, forward)

    def set_capture(self, kinds: Capture, snaplen: int) -> None:
        _enough(lib.wgvx_set_capture(self._plane, kinds.value, snaplen))

    def take_captured(self) -> tuple[list[Captured], int]:
        # Workers go on meanwhile, and what is then too much for this is there the next time.
        size = lib.wgvx_captured_bytes(self._plane) + SPARE
        room, lost = ffi.new("uint8_t[]", size), ffi.new("uint64_t *")
        used = lib.wgvx_take_captured(self._plane, room, size, lost)
        return sorted(unpack_captured(room, used), key=attrgetter("at")), int(lost[0])

    def drops(self) -> dict[Reason, int]:
        counts = ffi.new("uint64_t[]", len(Reason))
        lib.wgvx_drops(self._plane, counts)
        return dict(zip(Reason, counts, strict=True))

    def age(self, now: int) -> None:
        lib.wgvx_age(self._plane, now)
        given_up = self._rare.expire(now)
        lib.wgvx_count(self._plane, _REASONS[Reason.FRAGMENT], given_up)

    # --- peers -------------------------------------------------------------------------------

    def add_peer(self, peer: int) -> None:
        _enough(lib.wgvx_add_peer(self._plane, peer))

    def remove_peer(self, peer: int) -> None:
        lib.wgvx_remove_peer(self._plane, peer)
        self._rare.expect_echo(peer, b"", b"")
        self._burst.events.pop(peer, None)

    def set_endpoint(self, peer: int, endpoint: Endpoint | None) -> None:
        lib.wgvx_set_endpoint(self._plane, peer, pack_endpoint(endpoint) if endpoint else ffi.NULL)

    def endpoint(self, peer: int) -> Endpoint | None:
        found = ffi.new("wgvx_endpoint *")
        return unpack_endpoint(found) if lib.wgvx_get_endpoint(self._plane, peer, found) else None

    def echo_came(self, peer: int) -> None:
        """The peer sent back the echo that was expected of it."""
        self._burst.echoes.append(peer)

    def expect_echo(self, peer: int, source: bytes, rest: bytes) -> None:
        self._rare.expect_echo(peer, source, rest)

    def send_probe(self, peer: int, packet: bytes, now: int) -> Reason | None:
        self._drain(now)
        code = lib.wgvx_send_probe(self._plane, peer, packet, len(packet), now)
        if code == errno.ENOTCONN:
            return Reason.NO_ENDPOINT
        if code:
            return Reason.TOO_BIG if code == errno.EMSGSIZE else Reason.UNREACHABLE
        self._drain(now)
        # Where workers run, C has sent it.
        return self._send_whole(self._burst.datagrams.pop()) if self._burst.datagrams else None

    def give_up_local_address(self, peer: int, endpoint: Endpoint) -> None:
        lib.wgvx_give_up_local_address(self._plane, peer, pack_endpoint(endpoint))

    def allow_local_address(self, peer: int) -> None:
        lib.wgvx_allow_local_address(self._plane, peer)

    def add_allowed_ip(self, peer: int, prefix: Prefix) -> None:
        network, length = prefix
        _enough(lib.wgvx_add_allowed_ip(self._plane, peer, network, len(network), length))

    def remove_allowed_ip(self, peer: int, prefix: Prefix) -> bool:
        network, length = prefix
        removed = lib.wgvx_remove_allowed_ip(self._plane, peer, network, len(network), length)
        return bool(removed)

    def clear_allowed_ips(self, peer: int) -> None:
        lib.wgvx_clear_allowed_ips(self._plane, peer)

    def allowed_ips(self, peer: int) -> list[Prefix]:
        room = lib.wgvx_allowed_ip_count(self._plane, peer)
        found = ffi.new("uint8_t[][18]", room)
        number = lib.wgvx_allowed_ips(self._plane, peer, found, room)
        raw = bytes(ffi.buffer(found))
        prefixes = (raw[at : at + 18] for at in range(0, 18 * number, 18))
        return [(prefix[2 : 2 + prefix[0]], prefix[1]) for prefix in prefixes]

    def route(self, address: bytes) -> int | None:
        peer = ffi.new("uint32_t *")
        found = lib.wgvx_route(self._plane, address, len(address), peer)
        return int(peer[0]) if found else None

    def peer_counters(self, peer: int) -> PeerCounters:
        state = self._state(peer)
        return PeerCounters(state.rx_bytes, state.tx_bytes)

    def _state(self, peer: int) -> Any:
        state = ffi.new("wgvx_peer_state *")
        lib.wgvx_get_peer(self._plane, peer, state)
        return state

    # --- networks ----------------------------------------------------------------------------

    def add_network(self, network: Network) -> None:
        settings, _kept = pack_settings(network)
        _enough(lib.wgvx_add_network(self._plane, network.vni, network.udp_port, settings))

    def set_network(self, network: Network) -> None:
        settings, _kept = pack_settings(network)
        _enough(lib.wgvx_set_network(self._plane, network.vni, settings))

    def add_port(self, vni: int, port: int, mac: bytes | None) -> None:
        _enough(lib.wgvx_add_port(self._plane, vni, port, ffi.NULL if mac is None else mac))

    def set_blocked(self, port: int, blocked: bool) -> None:
        lib.wgvx_set_blocked(self._plane, port, blocked)

    def forget_port(self, port: int) -> None:
        lib.wgvx_forget_port(self._plane, port)

    def set_group(self, vni: int, mac: bytes, members: Forwarding | None) -> None:
        _enough(lib.wgvx_set_group(self._plane, vni, mac, *pack_forwarding(members)))

    def network_counters(self, vni: int) -> NetworkCounters:
        state = ffi.new("wgvx_network_state *")
        lib.wgvx_get_network(self._plane, vni, state)
        return NetworkCounters(state.rx_frames, state.tx_frames, state.fdb_entries, state.moves)

    def fdb_add(self, vni: int, mac: bytes, vtep: bytes) -> bytes | None:
        before, length = ffi.new("uint8_t[16]"), ffi.new("uint8_t *")
        done = lib.wgvx_fdb_add(self._plane, vni, mac, vtep, len(vtep), before, length)
        if done == -2:
            raise ValueError(f"{mac.hex(':')} is the address of a port of this node")
        _enough(done >= 0)
        return bytes(ffi.buffer(before, length[0])) if done else None

    def fdb_delete(self, vni: int, mac: bytes, vtep: bytes | None = None) -> bool:
        place = vtep or b""
        return bool(lib.wgvx_fdb_delete(self._plane, vni, mac, place, len(place)))

    def fdb_flush(self, vni: int, vtep: bytes | None = None, *, static: bool = False) -> int:
        place = vtep or b""
        return int(lib.wgvx_fdb_flush(self._plane, vni, place, len(place), static))

    def fdb_flood(self, vni: int) -> tuple[bytes, ...]:
        room = lib.wgvx_fdb_flood(self._plane, vni, ffi.NULL, 0)
        places = ffi.new("wgvx_place[]", room)
        lib.wgvx_fdb_flood(self._plane, vni, places, room)
        return tuple(bytes(ffi.buffer(place.vtep, place.vtep_length)) for place in places)

    def fdb_rows(self, vni: int, now: int) -> list[Row]:
        room = lib.wgvx_fdb_rows(self._plane, vni, now, ffi.NULL, 0)
        while True:
            rows = ffi.new("wgvx_row[]", room)
            number = lib.wgvx_fdb_rows(self._plane, vni, now, rows, room)
            if number <= room:  # Workers may learn between the two calls.
                return [unpack_row(rows[i]) for i in range(number)]
            room = number

    def fdb_moves(self, vni: int) -> list[Move]:
        moves = ffi.new("wgvx_move[]", MOVES_KEPT)
        number = lib.wgvx_fdb_moves(self._plane, vni, moves, MOVES_KEPT)
        return [unpack_move(moves[i]) for i in range(number)]

    # --- workers -----------------------------------------------------------------------------

    def attach_socket(self, worker: int, address_length: int, descriptor: int) -> None:
        _enough(lib.wgvx_set_socket(self._plane, worker, address_length, descriptor))

    def attach_port(
        self,
        worker: int,
        port: int,
        descriptor: int,
        framing: Framing,
        offloads: frozenset[str] = frozenset(),
    ) -> None:
        tso, uso = "tso" in offloads, "uso" in offloads
        how = (self._plane, worker, port, descriptor, framing.value, tso, uso)
        _enough(lib.wgvx_set_port(*how))

    def detach_port(self, port: int) -> None:
        lib.wgvx_unset_port(self._plane, port)

    def use_gso(self, segments: int) -> None:
        lib.wgvx_set_gso(self._plane, segments)

    def gso_works(self) -> bool:
        return bool(lib.wgvx_gso_works(self._plane))

    def take_gone_port(self) -> tuple[int, int] | None:
        port, code = ffi.new("uint32_t *"), ffi.new("int *")
        gone = lib.wgvx_take_gone_port(self._plane, port, code)
        return (int(port[0]), int(code[0])) if gone else None

    def start(self, workers: int) -> int:
        if not lib.wgvx_start(self._plane, workers):
            raise OSError("worker threads cannot be started")
        return int(lib.wgvx_notify_fd(self._plane))

    def stop(self) -> None:
        lib.wgvx_stop(self._plane)

    def collect(self, now: int) -> Burst:
        lib.wgvx_collect(self._plane)
        self._drain(now)
        return self.take()


def _enough(done: bool) -> None:
    if not done:
        raise MemoryError


def _runs(datagrams: Sequence[Datagram]) -> Iterator[tuple[int, list[Datagram]]]:
    """Datagrams as UDP_GRO would join them: one sender, one TOS, one size but the last's."""
    run: list[Datagram] = []
    for datagram in datagrams:
        if run and (
            datagram[1:] != run[0][1:]
            or not len(datagram.data) <= len(run[0].data) == len(run[-1].data)
            or not datagram.data
        ):
            yield len(run[0].data), run
            run = []
        run.append(datagram)
    if run:
        yield len(run[0].data), run

"""Frames of any kind from the overlay: lwIP goes on, and what it keeps is bounded."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from tests.stack.frames import (
    ACK,
    FIN,
    ICMP,
    ICMP6,
    PORT,
    PUSH,
    RST,
    SYN,
    TCP,
    THEIRS,
    TYPES,
    UDP,
    packet,
    ping,
    segment,
    templates,
)
from tests.stack.rig import FAR, MAC, MTU, OURS, address
from tests.stack.wire import SCALING, Wire, assert_alive, introduced, on_wire, syn_acks
from wgvx.stack.glue import Connection, Stack, StackMissing
from wgvx.vxlan import ip

pytestmark = pytest.mark.usefixtures("built")


def mutated(frame: bytes, chance: random.Random) -> bytes:
    changed = bytearray(frame)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        changed[chance.randrange(12, len(changed))] = chance.randrange(256)
    if chance.random() < 0.2:
        del changed[chance.randrange(1, len(changed)) :]
    if chance.random() < 0.1:
        changed += chance.randbytes(chance.randrange(1, 1300))
    return repaired(bytes(changed[: MTU + 14])) if chance.random() < 0.7 else bytes(changed)


def repaired(frame: bytes) -> bytes:
    """With checksums that are right, so that what is behind them is looked at."""
    changed = bytearray(frame)

    def fill(at: int, total: int, start: int, end: int | None = None) -> None:
        changed[at : at + 2] = b"\0\0"
        check = ip.complement(total + ip.partial_sum(bytes(changed[start:end])))
        changed[at : at + 2] = check.to_bytes(2, "big")

    start, protocol, addresses = 54, frame[20:21], frame[22:54]
    if frame[12:14] == TYPES[4] and len(frame) >= 34:
        fill(24, 0, 14, 34)
        start, protocol, addresses = 34, frame[23:24], frame[26:34]
    at = start + {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}.get(protocol[0] if protocol else 0, 0)
    if at > start and len(frame) > at + 2:
        half = len(addresses) // 2
        total = ip.pseudo_sum(addresses[:half], addresses[half:], protocol[0], len(frame) - start)
        fill(at, 0 if protocol[0] == ICMP else total, start)
    return bytes(changed)


def established(wire: Wire) -> list[bytes]:
    """Segments of a connection that is there, joined to a host's socket that reads nothing."""
    accepted: list[Connection] = []
    wire.stack.listen(None, PORT, lambda connection, _: accepted.append(connection))
    wire.send(segment(4, SYN, options=SCALING))
    wire.turn()
    (answer,) = [frame for frame in wire.received() if len(frame) > 47 and frame[47] == SYN | ACK]
    ack = struct.unpack_from("!I", answer, 38)[0] + 1 & 0xFFFFFFFF
    wire.send(segment(4, ACK, seq=2, ack=ack))
    wire.turn()
    host, ours = socket.socketpair()
    wire.hosts.append(host)
    ours.setblocking(False)
    accepted.pop().join(ours, b"hello" * 100)
    wire.turn()
    return [
        segment(4, flags, seq=2 + offset, ack=ack + acked & 0xFFFFFFFF, data=bytes(length))
        for offset, length in ((0, 1), (0, 1000), (1, 1), (1000, 100), (5000, 1), (60000, 1300))
        for acked in (0, 100, 500)
        for flags in (ACK, ACK | PUSH, ACK | FIN)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_garbage_does_it_no_harm(seed: int) -> None:
    async def test(wire: Wire) -> None:
        chance = random.Random(seed)
        udp = wire.stack.open_udp(lambda *_: None)
        introduced(wire)
        frames = templates() + established(wire)
        for _ in range(8000):
            wire.send(mutated(chance.choice(frames), chance))
        wire.turn()
        udp.close()
        wire.received()
        assert_alive(wire)

    on_wire(test)


@pytest.mark.parametrize("half_open", [True, False])
@pytest.mark.parametrize("distance", [2**31 - 1, 2**31, 2**31 + 1, 2**30 + 2, -(2**30) - 2])
def test_numbers_from_far_away_are_not_looked_at(distance: int, half_open: bool) -> None:
    async def test(wire: Wire) -> None:
        held: list[Connection] = []
        wire.stack.listen(None, PORT, lambda connection, _: held.append(connection))
        introduced(wire)
        wire.received()
        wire.send(segment(4, SYN, options=SCALING))
        wire.turn()
        ((_, number),) = syn_acks(wire.received())
        ack = number + 1 & 0xFFFFFFFF
        if not half_open:
            wire.send(segment(4, ACK, seq=2, ack=ack))
        sent = 0
        for flags, data in ((ACK | FIN, b""), (ACK, b"x"), (ACK | FIN, bytes(1000)), (RST, b"")):
            wire.send(segment(4, flags, seq=2 + distance & 0xFFFFFFFF, ack=ack, data=data))
            sent += 1
            if not half_open:
                far = ack + distance & 0xFFFFFFFF
                wire.send(segment(4, flags | ACK, seq=2, ack=far, data=data))
                sent += 1
        wire.turn()
        assert wire.stack.counters()["segments_refused"] == sent
        wire.send(segment(4, ACK, seq=2, ack=ack, data=b"near"))
        wire.turn()
        (connection,) = held
        host, ours = socket.socketpair()
        wire.hosts.append(host)
        ours.setblocking(False)
        connection.join(ours)
        assert host.recv(100) == b"near"
        assert_alive(wire)

    on_wire(test)


def test_frames_for_others_are_not_looked_at() -> None:
    async def test(wire: Wire) -> None:
        introduced(wire)
        wire.received()
        wire.send(THEIRS + ping(4)[6:])
        wire.turn()
        assert not any(b"ping" in frame for frame in wire.received())
        assert_alive(wire)

    on_wire(test)


ROUTER = "fe80::2"
ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
REDIRECT = struct.pack("!BBHI", 137, 0, 0, 0) + address("fe80::2").packed + address("::").packed


def from_router(message: bytes, hide: str) -> list[bytes]:
    """Frames of a message from the router, plain, or with a header of another kind in between."""
    source, ours = address(ROUTER).packed, address(OURS[6]).packed
    total = ip.pseudo_sum(source, ours, ICMP6, len(message)) + ip.partial_sum(message)
    message = message[:2] + ip.complement(total).to_bytes(2, "big") + message[4:]
    options = bytes((ICMP6, 0, 1, 4, 0, 0, 0, 0))
    cut = len(message) // 16 * 8
    # The first to come says what the whole is, though it is not the first in it.
    parts = [(cut, 0, ICMP6, message[cut:]), (0, 1, TCP, message[:cut])]
    packets = {
        "nothing": [(ICMP6, message)],
        "destination options": [(60, options + message)],
        "hop-by-hop and destination options": [(0, b"\x3c" + options[1:] + options + message)],
        "fragments": [
            (44, struct.pack("!BBHI", kind, 0, at | more, 7) + part)
            for at, more, kind, part in parts
        ],
    }
    return [packet(6, protocol, payload, source_ip=ROUTER) for protocol, payload in packets[hide]]


@pytest.mark.parametrize(
    "hide",
    ["nothing", "destination options", "hop-by-hop and destination options", "fragments"],
)
@pytest.mark.parametrize("message", [ADVERTISEMENT, REDIRECT])
def test_routers_and_redirects_have_no_say(message: bytes, hide: str) -> None:
    async def test(wire: Wire) -> None:
        introduced(wire)
        for frame in from_router(message, hide):
            wire.send(frame)
        wire.turn()
        assert wire.stack.counters()["router_messages"] == 1
        with pytest.raises(OSError, match="no route"):
            wire.stack.check_route(address("2001:db8::1"))
        assert_alive(wire)

    on_wire(test)


@pytest.mark.parametrize("mtu", [0, 1, 40, 47, 48, 56, 1279, 1351, 65535, 0xFFFFFFFF])
def test_a_path_mtu_that_cannot_be_is_not_believed(mtu: int) -> None:
    async def test(wire: Wire) -> None:
        introduced(wire)
        udp = wire.stack.open_udp(lambda *_: None)
        udp.send(bytes(4000), address(FAR[6]), 9)
        wire.received()
        original = ip.build(address(OURS[6]).packed, address(FAR[6]).packed, UDP, bytes(100))
        wire.send(packet(6, ICMP6, struct.pack("!BBHI", 2, 0, 0, mtu) + original, 2))
        wire.turn()
        udp.send(bytes(4000), address(FAR[6]), 9)
        frames = wire.received()
        assert [len(frame) for frame in frames] == [1358, 1358, 1358, 182]
        assert wire.stack.counters()["mtu_refused"] == 1
        udp.close()

    on_wire(test)


@pytest.mark.parametrize("end", [65200, 65400, 65500, 65535, 65536, 70000])
def test_a_datagram_in_fragments_may_be_too_large(end: int) -> None:
    async def test(wire: Wire) -> None:
        introduced(wire)
        step = 1048
        options = bytes((44, 30, 1, 244)) + bytes(244)
        for family, preceded in ((4, False), (6, False), (6, True)):
            data = struct.pack("!BBHHH", 8 if family == 4 else 128, 0, 0, 1, 1).ljust(end, b"x")
            for at in range(0, end, step):
                part, more = data[at : at + step], at + step < end
                if family == 6:
                    part = struct.pack("!BBHI", ICMP6, 0, (at & 0xFFFF) | more, 9) + part
                    hidden = preceded and at == 0
                    wire.send(packet(6, 60, options + part) if hidden else packet(6, 44, part))
                    continue
                frame = bytearray(packet(4, ICMP, part))
                frame[20:22] = ((at // 8 & 0x1FFF) | 0x2000 * more).to_bytes(2, "big")
                wire.send(repaired(bytes(frame[:34])) + frame[34:])
            wire.turn()
            wire.received()
        assert bool(wire.stack.counters()["fragments_refused"]) == (end > 65239)
        assert_alive(wire)

    on_wire(test)


def test_there_is_one_at_a_time_and_one_after_the_other() -> None:
    async def test(wire: Wire) -> None:
        with pytest.raises(StackMissing, match="a stack in this process already"):
            Stack(wire.end.fileno(), mac=MAC, mtu=MTU, addresses=[])
        assert_alive(wire)

    for _ in range(3):
        on_wire(test)

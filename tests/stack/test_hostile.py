"""Frames of any kind from the overlay: lwIP goes on, and what it keeps is bounded."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from ipaddress import ip_interface

import pytest

from tests.stack.frames import (
    ACK,
    FIN,
    ICMP,
    ICMP6,
    PORT,
    PUSH,
    SYN,
    TCP,
    THEIRS,
    TYPES,
    UDP,
    introductions,
    packet,
    ping,
    segment,
    templates,
)
from tests.stack.rig import MAC, MTU, OURS, address
from wgvx.stack.glue import Connection, Stack, StackMissing
from wgvx.vxlan import ip

pytestmark = pytest.mark.usefixtures("built")


class Wire:
    """A stack, and the far end of its descriptor."""

    def __init__(self) -> None:
        self.end, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.end, self._theirs):
            end.setblocking(False)
        self.failed: list[str] = []
        self.hosts: list[socket.socket] = []
        self.stack = Stack(
            self._theirs.fileno(),
            mac=MAC,
            mtu=MTU,
            addresses=[ip_interface(f"{OURS[4]}/24"), ip_interface(f"{OURS[6]}/64")],
            failed=self.failed.append,
        )

    def send(self, frame: bytes) -> None:
        """A frame to the stack, at once; what it sends is thrown away where it is too much."""
        for _ in range(100):
            try:
                self.end.send(frame)
            except BlockingIOError:
                self.turn()
                self.received()
            else:
                return

    def turn(self) -> None:
        self.stack._serve()

    def received(self) -> list[bytes]:
        frames = []
        while True:
            try:
                frames.append(self.end.recv(65535))
            except BlockingIOError:
                return frames

    def close(self) -> None:
        self.stack.close()
        for end in (self.end, self._theirs, *self.hosts):
            end.close()


def on_wire(test: Callable[[Wire], Awaitable[None]]) -> None:
    async def whole() -> None:
        wire = Wire()
        try:
            await test(wire)
            assert wire.failed == []
        finally:
            wire.close()

    asyncio.run(whole())


def introduced(wire: Wire) -> None:
    """The stack knows where the far end is."""
    for frame in introductions():
        wire.send(frame)
    wire.turn()


def assert_alive(wire: Wire) -> None:
    introduced(wire)
    wire.received()
    for family in (4, 6):
        wire.send(ping(family))
        wire.turn()
        assert any(b"ping" in frame for frame in wire.received()), f"no answer of IPv{family}"


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
    wire.send(segment(4, SYN, options=bytes.fromhex("020405220103030704020101")))
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


def test_a_flood_of_syns_leaves_no_more_than_the_backlog() -> None:
    async def test(wire: Wire) -> None:
        wire.stack.listen(None, PORT, lambda connection, _: connection.close())
        introduced(wire)
        wire.received()
        answered = 0
        for port in range(1000, 2000):
            wire.send(segment(4, SYN, port=port))
            wire.turn()
            answered += sum(frame[47] == SYN | ACK for frame in wire.received() if len(frame) > 47)
        assert answered <= 64
        assert wire.stack.connections == 0
        assert_alive(wire)

    on_wire(test)


def test_connections_are_bounded() -> None:
    async def test(wire: Wire) -> None:
        held = []
        wire.stack.listen(None, PORT, lambda connection, _: held.append(connection))
        introduced(wire)
        for port in range(1000, 1400):
            wire.send(segment(4, SYN, port=port))
            wire.turn()
            for frame in wire.received():
                if len(frame) > 47 and frame[47] == SYN | ACK:
                    (isn,) = struct.unpack_from("!I", frame, 38)
                    wire.send(segment(4, ACK, port=port, seq=2, ack=isn + 1 & 0xFFFFFFFF))
            wire.turn()
        assert len(held) == wire.stack.connections == 256
        for connection in held:
            connection.close()
        assert wire.stack.connections == 0
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


def test_routers_and_redirects_have_no_say() -> None:
    async def test(wire: Wire) -> None:
        introduced(wire)
        advertised = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        frame = bytearray(packet(6, ICMP6, advertised))
        source = bytes.fromhex("fe800000000000000000000000000002")
        ours = address(OURS[6]).packed
        frame[22:38] = source
        total = ip.pseudo_sum(source, ours, ICMP6, len(advertised)) + ip.partial_sum(advertised)
        frame[56:58] = ip.complement(total).to_bytes(2, "big")
        wire.send(bytes(frame))
        wire.turn()
        with pytest.raises(OSError, match="no route"):
            wire.stack.check_route(address("2001:db8::1"))
        assert_alive(wire)

    on_wire(test)


def test_there_is_one_at_a_time_and_one_after_the_other() -> None:
    async def test(wire: Wire) -> None:
        with pytest.raises(StackMissing, match="a stack in this process already"):
            Stack(wire.end.fileno(), mac=MAC, mtu=MTU, addresses=[])
        assert_alive(wire)

    for _ in range(3):
        on_wire(test)

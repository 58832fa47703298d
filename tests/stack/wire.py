"""A stack on one end of a pair of sockets, frame by frame and turn by turn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_interface

from tests.stack.frames import ACK, SYN, THEIRS, introductions, ping, segment
from tests.stack.rig import MAC, MTU, OURS, address
from wgvx.stack.glue import Stack

SCALING = bytes.fromhex("020405220103030704020101")
"""Options of a SYN: segments of 1314 bytes, windows scaled by 7, selective acknowledgements."""


class Wire:
    """A stack, and the far end of its descriptor. ``connections``: how many it may have."""

    def __init__(self, connections: int) -> None:
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
            connections=connections,
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


def on_wire(test: Callable[[Wire], Awaitable[None]], connections: int = 2048) -> None:
    async def whole() -> None:
        wire = Wire(connections)
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


def introduce(wire: Wire, source: str) -> None:
    """The stack knows where that address of IPv4 is."""
    asks = bytes.fromhex("0001080006040001") + THEIRS + address(source).packed + bytes(6)
    wire.send(b"\xff" * 6 + THEIRS + b"\x08\x06" + asks + address(OURS[4]).packed)
    wire.turn()
    wire.received()


def syn_acks(frames: list[bytes]) -> list[tuple[int, int]]:
    """Port and sequence number of those among the stack's frames of IPv4 that accept a SYN."""
    return [
        (int.from_bytes(frame[36:38], "big"), int.from_bytes(frame[38:42], "big"))
        for frame in frames
        if frame[12:14] == b"\x08\0" and len(frame) > 47 and frame[47] == SYN | ACK
    ]


def open_from(wire: Wire, port: int, source: str | None = None) -> int:
    """A whole handshake from there with the stack's listener; the number it is to be acknowledged
    at, 0 where it was not to be had."""
    wire.received()
    wire.send(segment(4, SYN, port=port, source=source, options=SCALING))
    wire.turn()
    answers = syn_acks(wire.received())
    if not answers:
        return 0
    ((_, number),) = answers
    acknowledged = number + 1 & 0xFFFFFFFF
    wire.send(segment(4, ACK, port=port, seq=2, ack=acknowledged, source=source))
    wire.turn()
    return acknowledged

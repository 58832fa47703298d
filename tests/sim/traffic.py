"""Streams of frames between stations, each frame accounted for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from tests.sim.world import Station
from tests.support.engines import ETHERTYPE
from tests.vxlan.packets import address, ethernet, ipv4, ipv6

_NUMBER_LENGTH = 8


def _templates(destination: bytes, source: bytes) -> list[bytes]:
    """Frames of every kind and size up to an overlay MTU of 1350; a number goes behind each."""

    def frame(payload: bytes, ethertype: int, **more: tuple[tuple[int, int], ...]) -> bytes:
        return ethernet(payload, ethertype, destination=destination, source=source, **more)

    def udp(length: int) -> bytes:
        # No checksum: the number behind changes.
        return bytes.fromhex("13881389") + (length + 16).to_bytes(2, "big") + bytes(2 + length)

    a4, b4 = address("10.0.0.1"), address("10.0.0.2")
    a6, b6 = address("fd00:a::1"), address("fd00:a::2")
    short = ipv4(udp(32), source=a4, destination=b4, total_length=68)
    large = ipv4(udp(1314), source=a4, destination=b4, tos=2, total_length=1350)
    six = ipv6(udp(500), source=a6, destination=b6, traffic_class=1, payload_length=516)
    return [
        frame(bytes(38), ETHERTYPE),
        frame(short, 0x0800),
        frame(large, 0x0800),
        frame(six, 0x86DD),
        frame(short, 0x0800, tags=((0x8100, 100),)),
    ]


class Stream:
    """Frames from one station to another, at moments that ``next_after(now)`` gives."""

    def __init__(
        self,
        source: Station,
        destination: Station,
        *,
        first: int,
        next_after: Callable[[int], int],
        end: int,
    ) -> None:
        self.source = source
        self.destination = destination
        self.sent = 0
        self.delivered: list[int] = []
        """When, in nanoseconds."""
        self._world = source.world
        self._next_after = next_after
        self._end = end
        self._templates = _templates(destination.mac, source.mac)
        self._outstanding: set[bytes] = set()
        self._world.at(first, self._send)

    def _send(self) -> None:
        now = self._world.now
        if now >= self._end:
            return
        number = self.sent.to_bytes(_NUMBER_LENGTH, "big")
        frame = self._templates[self.sent % len(self._templates)] + number
        self.sent += 1
        self._outstanding.add(frame)
        self.source.transmit(frame)
        self._world.at(self._next_after(now), self._send)

    def take(self, frame: bytes) -> None:
        """A frame of this stream arrived: one that was sent, byte for byte, and not yet taken."""
        assert frame in self._outstanding, f"delivered twice, or never sent: {frame.hex()}"
        self._outstanding.remove(frame)
        self.delivered.append(self._world.now)

    def longest_gap(self, begin: int, end: int) -> int:
        """The longest time without a delivery between two moments, which both count as one."""
        moments = [begin, *(t for t in self.delivered if begin <= t <= end), end]
        return max(b - a for a, b in itertools.pairwise(moments))

    def delivered_between(self, begin: int, end: int) -> int:
        """How many frames arrived within."""
        return sum(begin <= t <= end for t in self.delivered)


def every(period: int) -> Callable[[int], int]:
    """A steady beat, for ``next_after``."""
    return lambda now: now + period


def deliver_to(streams: Iterable[Stream]) -> None:
    """Let each destination hand what it gets to the stream that it is of.

    As a network card does, a station ignores frames to other addresses: flooded ones arrive too.
    """
    by_addresses = {s.destination.mac + s.source.mac: s for s in streams}

    def handler(station: Station) -> Callable[[bytes], None]:
        def handle(frame: bytes) -> None:
            if frame[:6] == station.mac:
                by_addresses[frame[:12]].take(frame)

        return handle

    for stream in by_addresses.values():
        stream.destination.on_frame = handler(stream.destination)

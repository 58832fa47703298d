"""Tunnel packets for us that are rare: fragments, pings and their echoes, extension headers.

Both data planes hand them to this very code: what only Python deals with is to be right once.
"""

from __future__ import annotations

from typing import Protocol

from wgvx.dataplane.slow_path import SlowPathLimiter
from wgvx.drops import Drop, Reason
from wgvx.vxlan import icmp, ip
from wgvx.vxlan.ip import IpPacket
from wgvx.vxlan.reassembly import Reassembler


class Way(Protocol):
    """The data plane, as far as these packets go on in it."""

    def decapsulate(self, packet: IpPacket, now: int) -> None:
        """A whole UDP packet for us."""

    def send_packet(self, packet: bytes, now: int) -> None:
        """A tunnel packet of our own, to be routed."""

    def next_identification(self) -> int:
        """IPv4 identifications of our tunnel packets count up: a peer may fragment them."""

    def echo_came(self, peer: int) -> None:
        """The peer sent back the echo that was expected of it."""


class RarePackets:
    """Puts fragments together and answers pings, both within bounds."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._reassembler = Reassembler()
        self._limiter = SlowPathLimiter()
        self._expected: dict[int, tuple[bytes, bytes]] = {}
        """By peer: the address that the echo comes from, and what it brings back."""

    def expect_echo(self, peer: int, source: bytes, rest: bytes) -> None:
        """An echo, to be told of once; with empty ``rest`` none any more."""
        if rest:
            self._expected[peer] = source, rest
        else:
            self._expected.pop(peer, None)

    def deliver(self, peer: int, packet: bytes, now: int) -> None:
        """A tunnel packet for us from a peer. Raises Drop."""
        parsed: IpPacket | None = ip.parse(packet)
        if parsed is not None and parsed.fragment is not None:
            parsed = self._reassembler.add(parsed, now, peer)
        if parsed is None:
            return
        if parsed.protocol == ip.PROTOCOL_UDP:
            self._way.decapsulate(parsed, now)
        elif not self._is_expected(peer, parsed):
            self._answer_ping(parsed, now)

    def _is_expected(self, peer: int, packet: IpPacket) -> bool:
        """Whether it is the echo expected of this very peer, byte for byte."""
        expected = self._expected.get(peer)
        if expected is None or (packet.source, icmp.echoed(packet)) != expected:
            return False
        del self._expected[peer]
        self._way.echo_came(peer)
        return True

    def expire(self, now: int) -> int:
        """Forget fragments whose time is over; how many count as dropped."""
        return self._reassembler.expire(now)

    def _answer_ping(self, packet: IpPacket, now: int) -> None:
        reply = icmp.echo_reply(packet)  # None for every other protocol, too.
        if reply is None:
            raise Drop(Reason.NOT_VXLAN)
        if not self._limiter.allow(now):
            raise Drop(Reason.SLOW_PATH)
        self._way.send_packet(
            ip.build(
                packet.destination,
                packet.source,
                packet.protocol,
                reply,
                identification=self._way.next_identification(),
            ),
            now,
        )

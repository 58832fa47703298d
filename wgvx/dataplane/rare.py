"""Tunnel packets for us that are rare: fragments, pings, extension headers.

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


class RarePackets:
    """Puts fragments together and answers pings, both within bounds."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._reassembler = Reassembler()
        self._limiter = SlowPathLimiter()

    def deliver(self, peer: int, packet: bytes, now: int) -> None:
        """A tunnel packet for us from a peer. Raises Drop."""
        parsed: IpPacket | None = ip.parse(packet)
        if parsed is not None and parsed.fragment is not None:
            parsed = self._reassembler.add(parsed, now, peer)
        if parsed is None:
            return
        if parsed.protocol == ip.PROTOCOL_UDP:
            self._way.decapsulate(parsed, now)
        else:
            self._answer_ping(parsed, now)

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

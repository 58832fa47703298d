"""Fragments of tunnel packets, put together again within bounds (RFC 791, 8200, 5722, 8900).

A VTEP must not fragment, but Linux leaves DF clear over an IPv4 overlay, so a frame too large for a
peer's tunnel arrives as fragments. Whatever is sent, no more than the limits is held; who sends too
much loses its own oldest datagrams, never another source's.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NoReturn

from wgvx.drops import Drop, Reason
from wgvx.vxlan.ip import (
    ECN_CE,
    ECN_NOT_ECT,
    IPV4_HEADER_LENGTH,
    MAX_PACKET,
    IpPacket,
    walk_extension_headers,
)

DEFAULT_LIMIT_PACKETS = 64
DEFAULT_LIMIT_BYTES = 4 << 20
DEFAULT_TIMEOUT = 15 * 10**9
FRAGMENT_OVERHEAD = 256
"""Charged for each fragment besides its payload, so that tiny ones cannot hold much more memory."""

# (source, destination, identification, protocol or -1): RFC 791 tells datagrams apart by the
# protocol too; RFC 8200 does not, for there only the first fragment's next header counts.
_Key = tuple[bytes, bytes, int, int]


class _Datagram:
    """The fragments held of one datagram."""

    __slots__ = ("charge", "deadline", "ecn_seen", "first", "key", "offsets", "payloads", "total")

    def __init__(self, key: _Key, deadline: int) -> None:
        self.key = key
        self.deadline = deadline
        self.offsets: list[int] = []  # ascending
        self.payloads: dict[int, bytes] = {}  # by offset
        self.first: IpPacket | None = None  # the fragment at offset 0
        self.total: int | None = None  # bytes, once the last fragment has told
        self.ecn_seen = 0  # a bit per codepoint
        self.charge = 0

    def end_of(self, index: int) -> int:
        offset = self.offsets[index]
        return offset + len(self.payloads[offset])

    def is_duplicate(self, offset: int, payload: bytes, more: bool) -> bool:
        """Whether exactly this fragment is held."""
        last = self.total == offset + len(payload)
        return self.payloads.get(offset) == payload and more != last

    def conflicts(self, offset: int, end: int, more: bool) -> bool:
        """Whether a fragment overlaps another, or contradicts where the datagram ends."""
        if self.total is not None and end > self.total:
            return True
        index = bisect_left(self.offsets, offset)
        if index and self.end_of(index - 1) > offset:
            return True
        if index == len(self.offsets):
            return False
        # Nothing may be held behind a last fragment, and another last one would be.
        return not more or self.offsets[index] < end

    def insert(self, packet: IpPacket, offset: int, more: bool) -> None:
        insort(self.offsets, offset)
        self.payloads[offset] = packet.payload
        self.ecn_seen |= 1 << packet.ecn
        self.charge += _charge(packet)
        if offset == 0:
            self.first = packet
        if not more:
            self.total = offset + len(packet.payload)

    def is_whole(self) -> bool:
        # Without overlaps, the lengths add up to the total only if no byte is missing.
        return self.total is not None and self.total == (
            self.charge - FRAGMENT_OVERHEAD * len(self.offsets)
        )


class Reassembler:
    """Holds fragments until their datagram is whole.

    ``limit_packets`` datagrams and ``limit_bytes`` (payloads and an overhead for each fragment) at
    most, a quarter of either from one source address; ``timeout`` nanoseconds from a datagram's
    first fragment on.
    """

    def __init__(
        self,
        *,
        limit_packets: int = DEFAULT_LIMIT_PACKETS,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        timeout: int = DEFAULT_TIMEOUT,
        source_limit_packets: int | None = None,
        source_limit_bytes: int | None = None,
    ) -> None:
        self.limit_packets = limit_packets
        self.limit_bytes = limit_bytes
        self.timeout = timeout
        self.source_limit_packets = source_limit_packets or max(limit_packets // 4, 1)
        self.source_limit_bytes = source_limit_bytes or limit_bytes // 4
        self._datagrams: dict[_Key, _Datagram] = {}  # the oldest first
        self._charge = 0
        self._given_up = 0

    def __len__(self) -> int:
        """Datagrams held."""
        return len(self._datagrams)

    @property
    def charge(self) -> int:
        """Bytes held, overhead included."""
        return self._charge

    def add(self, packet: IpPacket, now: int) -> IpPacket | None:
        """Take one fragment; the whole packet once nothing of it is missing, else ``None``.

        Raises ``Drop(FRAGMENT)`` for a fragment that is empty, not last and no multiple of 8 bytes
        long, past 65535 bytes, overlapping (RFC 5722), contradicting the end that another told, or
        over the limits; and for fragments that may not be mixed by their ECN. The datagram is then
        forgotten. An exact duplicate is refused alone (RFC 8200, 4.5: it may be ignored).
        ``Drop(INNER_MALFORMED)`` for extension headers that only the whole shows to be wrong.
        Fragments that were held and are lost by any of this count in the next :meth:`expire`.
        """
        fragment = packet.fragment
        if fragment is None:
            return packet
        self._forget_late(now)
        ipv4 = len(packet.source) == 4
        key = (
            packet.source,
            packet.destination,
            fragment.identification,
            packet.protocol if ipv4 else -1,
        )
        datagram = self._datagrams.get(key)
        offset, more = fragment.offset, fragment.more
        end = offset + len(packet.payload)
        limit = MAX_PACKET - IPV4_HEADER_LENGTH if ipv4 else MAX_PACKET
        if end == offset or end > limit or (more and end % 8):
            self._refuse(datagram)
        if datagram is not None:
            if datagram.is_duplicate(offset, packet.payload, more):
                raise Drop(Reason.FRAGMENT)
            if datagram.conflicts(offset, end, more):
                self._refuse(datagram)
        if not self._make_room(packet, datagram):
            self._refuse(datagram)
        if datagram is None:
            datagram = self._datagrams[key] = _Datagram(key, now + self.timeout)
        datagram.insert(packet, offset, more)
        self._charge += _charge(packet)
        return self._finish(datagram) if datagram.is_whole() else None

    def expire(self, now: int) -> int:
        """Forget the datagrams whose time is over.

        Returns how many fragments, taken by :meth:`add`, were given up since the last call, for
        whatever reason: each counts as a dropped ``fragment``.
        """
        self._forget_late(now)
        given_up, self._given_up = self._given_up, 0
        return given_up

    def _finish(self, datagram: _Datagram) -> IpPacket:
        first = datagram.first
        assert first is not None  # a whole datagram has a fragment at offset 0
        payload = b"".join([datagram.payloads[offset] for offset in datagram.offsets])
        protocol = first.protocol
        try:
            ecn = _combined_ecn(datagram.ecn_seen, first.ecn)
            if len(first.source) == 16:
                protocol, _, payload = walk_extension_headers(protocol, payload, reassembled=True)
        except Drop:
            # The fragment that completed it is counted by the raise, the others as given up.
            self._given_up += len(datagram.offsets) - 1
            raise
        finally:
            self._remove(datagram)
        return IpPacket(
            first.source, first.destination, first.hop_limit, ecn, protocol, payload, None
        )

    def _make_room(self, packet: IpPacket, datagram: _Datagram | None) -> bool:
        """Forget other datagrams of the packet's source, the oldest first, until it fits."""
        mine = [held for held in self._datagrams.values() if held.key[0] == packet.source]
        new = datagram is None
        charge = _charge(packet)
        while (
            len(self._datagrams) + new > self.limit_packets
            or len(mine) + new > self.source_limit_packets
            or self._charge + charge > self.limit_bytes
            or sum(held.charge for held in mine) + charge > self.source_limit_bytes
        ):
            oldest = next((held for held in mine if held is not datagram), None)
            if oldest is None:
                return False
            mine.remove(oldest)
            self._forget(oldest)
        return True

    def _forget_late(self, now: int) -> None:
        while self._datagrams:
            oldest = next(iter(self._datagrams.values()))
            if now < oldest.deadline:
                return
            self._forget(oldest)

    def _forget(self, datagram: _Datagram) -> None:
        self._remove(datagram)
        self._given_up += len(datagram.offsets)

    def _remove(self, datagram: _Datagram) -> None:
        del self._datagrams[datagram.key]
        self._charge -= datagram.charge

    def _refuse(self, datagram: _Datagram | None) -> NoReturn:
        if datagram is not None:
            self._forget(datagram)
        raise Drop(Reason.FRAGMENT)


def _charge(packet: IpPacket) -> int:
    return len(packet.payload) + FRAGMENT_OVERHEAD


def _combined_ecn(seen: int, first: int) -> int:
    """The codepoint of the whole (RFC 3168, section 5.3, as Linux does it).

    Fragments that are ECN-capable are not mixed with others that are not; one CE marks the whole;
    else the first fragment's counts.
    """
    if seen & 1 << ECN_NOT_ECT and seen != 1 << ECN_NOT_ECT:
        raise Drop(Reason.FRAGMENT)
    return ECN_CE if seen & 1 << ECN_CE else first

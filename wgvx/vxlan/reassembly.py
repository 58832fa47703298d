"""Fragments of tunnel packets, put together again within bounds (RFC 791, 8200, 5722, 8900).

A VTEP must not fragment, but Linux leaves DF clear over an IPv4 overlay, so a frame too large for a
peer's tunnel arrives as fragments. Whatever is sent, no more than the limits is held, and where
room is short, whoever holds the most loses its oldest datagram.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple, NoReturn

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


class _Key(NamedTuple):
    """What tells datagrams apart: the owner too, so that no two peers share one."""

    owner: int
    source: bytes
    destination: bytes
    identification: int
    protocol: int
    """Over IPv4 (RFC 791). -1 over IPv6: there only the first fragment's counts (RFC 8200)."""


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
    most, a quarter of either for one owner: the peer that sent them, whatever addresses it has.
    ``timeout`` nanoseconds from a datagram's first fragment on.
    """

    def __init__(
        self,
        *,
        limit_packets: int = DEFAULT_LIMIT_PACKETS,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        timeout: int = DEFAULT_TIMEOUT,
        owner_limit_packets: int | None = None,
        owner_limit_bytes: int | None = None,
    ) -> None:
        self.limit_packets = limit_packets
        self.limit_bytes = limit_bytes
        self.timeout = timeout
        self.owner_limit_packets = owner_limit_packets or max(limit_packets // 4, 1)
        self.owner_limit_bytes = owner_limit_bytes or limit_bytes // 4
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

    def add(self, packet: IpPacket, now: int, owner: int) -> IpPacket | None:
        """Take one fragment from ``owner``, the id of the peer that sent it.

        The whole packet once nothing of it is missing, else ``None``.

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
        key = _Key(
            owner,
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
        if not self._make_room(owner, _charge(packet), datagram):
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

    def _make_room(self, owner: int, charge: int, datagram: _Datagram | None) -> bool:
        """Forget datagrams, but never ``datagram``, until ``charge`` more of ``owner`` fits.

        Over its own share, the owner loses its oldest. Over a total, whoever holds the most of what
        is short does: the owner itself where nobody holds more, and of several others the one that
        holds the oldest datagram.
        """
        new = datagram is None
        while True:
            numbers, charges = {owner: 0}, {owner: 0}  # what each owner holds
            for key, held in self._datagrams.items():
                numbers[key.owner] = numbers.get(key.owner, 0) + 1
                charges[key.owner] = charges.get(key.owner, 0) + held.charge
            if (
                numbers[owner] + new > self.owner_limit_packets
                or charges[owner] + charge > self.owner_limit_bytes
            ):
                loser = owner
            elif len(self._datagrams) + new > self.limit_packets:
                loser = max(numbers, key=numbers.__getitem__)  # the first among equals
            elif self._charge + charge > self.limit_bytes:
                loser = max(charges, key=charges.__getitem__)
            else:
                return True
            candidates = (held for held in self._datagrams.values() if held.key.owner == loser)
            oldest = next((held for held in candidates if held is not datagram), None)
            if oldest is None:
                return False
            self._forget(oldest)

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

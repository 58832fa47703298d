"""Tunnel packets: IPv4 (RFC 791) and IPv6 (RFC 8200), parsed, built, and changed in place by a hub.

A tunnel packet is what WireGuard carries. Addresses are packed bytes, 4 or 16 of them, and their
length tells the family.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wgvx.drops import Drop, Reason

IPV4_HEADER_LENGTH = 20
IPV6_HEADER_LENGTH = 40
MAX_PACKET = 65535

PROTOCOL_ICMP = 1
PROTOCOL_IGMP = 2
PROTOCOL_UDP = 17
PROTOCOL_ICMPV6 = 58
PROTOCOL_PIM = 103

ECN_NOT_ECT = 0
ECN_ECT1 = 1
ECN_ECT0 = 2
ECN_CE = 3

_HOP_BY_HOP = 0
_ROUTING = 43
_FRAGMENT = 44
_DESTINATION_OPTIONS = 60
_EXTENSION_HEADERS = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS))
MAX_EXTENSION_HEADERS = 8

_MORE_FRAGMENTS = 0x2000
_IPV4_LAYOUT = struct.Struct("!BBHHHBBH4s4s")
_IPV6_LAYOUT = struct.Struct("!IHBB16s16s")


@dataclass(slots=True)
class Fragment:
    """Where a fragment belongs: its datagram's identification, ``offset`` in bytes, ``more``."""

    identification: int
    offset: int
    more: bool


@dataclass(slots=True)
class IpPacket:
    """A parsed tunnel packet.

    ``payload`` is the upper layer's and ``protocol`` names it; with a ``fragment`` it is this
    fragment's part of the fragmentable bytes, and ``protocol`` is what they begin with.
    """

    source: bytes
    destination: bytes
    hop_limit: int
    ecn: int
    protocol: int
    payload: bytes
    fragment: Fragment | None = None


# ---- the Internet checksum (RFC 1071) ----


def partial_sum(data: bytes) -> int:
    """One's complement sum, 0..0xFFFF, of the 16-bit words of ``data``; an odd end is zero-padded.

    2^16 is congruent to 1 modulo 0xFFFF, so the whole as one number leaves the remainder that its
    words' sum leaves. Partial sums may be added to each other and to words; every part but the last
    must be of even length.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    # One's complement has two zeros: only all-zero data sums to 0, any other multiple to 0xFFFF.
    return number % 0xFFFF or (0xFFFF if number else 0)


def complement(total: int) -> int:
    """The checksum field for a sum of partial sums; 0 when ``total`` included a right checksum."""
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def checksum(data: bytes) -> int:
    """The Internet checksum of ``data``; 0 when ``data`` includes its own right checksum."""
    return complement(partial_sum(data))


def pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """Partial sum of the pseudo-header before an upper layer of ``length`` bytes.

    RFC 768 and RFC 8200, section 8.1: the two layouts sum alike.
    """
    return partial_sum(source + destination) + protocol + length


def replace_word(check: int, old: int, new: int) -> int:
    """``check`` after one 16-bit word changed: RFC 1624, equation 3, HC' = ~(~HC + ~m + m')."""
    return complement((0xFFFF - check) + (0xFFFF - old) + new)


# ---- parsing ----


def parse(packet: bytes) -> IpPacket:
    """Parse one tunnel packet; bytes beyond the length in its header are trimmed (padding).

    Raises ``Drop(BAD_CHECKSUM)`` for an IPv4 header checksum, ``Drop(INNER_MALFORMED)`` for
    anything else: another version, lengths that lie, more than 8 extension headers or one out of
    place, an IPv6 option that must not be skipped, a routing header with segments left.
    """
    if ip_version(packet) == 4:
        return _parse_ipv4(packet)
    return _parse_ipv6(packet)


def ip_version(packet: bytes) -> int:
    """4 or 6; ``Drop(INNER_MALFORMED)`` for neither, or where the fixed header is not all there."""
    if packet:
        version = packet[0] >> 4
        if version == 4 and len(packet) >= IPV4_HEADER_LENGTH:
            return 4
        if version == 6 and len(packet) >= IPV6_HEADER_LENGTH:
            return 6
    raise Drop(Reason.INNER_MALFORMED)


def _ipv4_lengths(packet: bytes) -> tuple[int, int]:
    """Header length and total length of a packet of version 4, both and the checksum verified."""
    header_length = (packet[0] & 0x0F) * 4
    total_length = packet[2] << 8 | packet[3]
    if not IPV4_HEADER_LENGTH <= header_length <= total_length <= len(packet):
        raise Drop(Reason.INNER_MALFORMED)
    if checksum(packet[:header_length]):
        raise Drop(Reason.BAD_CHECKSUM)
    return header_length, total_length


def _ipv6_length(packet: bytes) -> int:
    """Length with header of a packet of version 6. No jumbograms (RFC 2675)."""
    total_length = IPV6_HEADER_LENGTH + (packet[4] << 8 | packet[5])
    if total_length > len(packet):
        raise Drop(Reason.INNER_MALFORMED)
    return total_length


def _parse_ipv4(packet: bytes) -> IpPacket:
    header_length, total_length = _ipv4_lengths(packet)
    fields = _IPV4_LAYOUT.unpack_from(packet)
    _, tos, _, identification, flags, ttl, protocol, _, source, destination = fields
    offset, more = (flags & 0x1FFF) * 8, bool(flags & _MORE_FRAGMENTS)
    fragment = Fragment(identification, offset, more) if offset or more else None
    payload = packet[header_length:total_length]
    return IpPacket(source, destination, ttl, tos & 3, protocol, payload, fragment)


def _parse_ipv6(packet: bytes) -> IpPacket:
    total_length = _ipv6_length(packet)
    first_word, _, next_header, hop_limit, source, destination = _IPV6_LAYOUT.unpack_from(packet)
    protocol, fragment, payload = walk_extension_headers(
        next_header, packet[IPV6_HEADER_LENGTH:total_length]
    )
    ecn = first_word >> 20 & 3
    return IpPacket(source, destination, hop_limit, ecn, protocol, payload, fragment)


def walk_extension_headers(
    next_header: int, data: bytes, *, reassembled: bool = False
) -> tuple[int, Fragment | None, bytes]:
    """Walk the IPv6 extension headers that ``data`` begins with.

    Returns the protocol found behind them, the fragment (an atomic one, RFC 6946, counts as whole)
    and the bytes that follow. ``reassembled``: ``data`` is the fragmentable part of a datagram put
    together again, in which neither hop-by-hop options nor another fragment may occur.
    """
    position = 0
    for count in range(MAX_EXTENSION_HEADERS + 1):
        if next_header not in _EXTENSION_HEADERS:
            return next_header, None, data[position:]
        if len(data) - position < 8:
            break
        following = data[position]
        if next_header == _FRAGMENT:
            field = data[position + 2] << 8 | data[position + 3]
            offset, more = field & 0xFFF8, bool(field & 1)
            if offset or more:
                if reassembled:
                    break
                identification = int.from_bytes(data[position + 4 : position + 8], "big")
                return following, Fragment(identification, offset, more), data[position + 8 :]
            position += 8
        else:
            end = position + 8 + 8 * data[position + 1]
            if end > len(data):
                break
            if next_header == _ROUTING:
                # RFC 8200, 4.4, and RFC 5095: we are no router of other people's source routes.
                if data[position + 3]:
                    break
            elif next_header == _HOP_BY_HOP and (count or reassembled):
                # RFC 8200, 4.1: "restricted to appear immediately after an IPv6 header only".
                break
            elif not _options_may_be_skipped(data[position + 2 : end]):
                break
            position = end
        next_header = following
    raise Drop(Reason.INNER_MALFORMED)


def _options_may_be_skipped(options: bytes) -> bool:
    """Whether the options fit and none asks to be understood.

    RFC 8200, 4.2: the two highest bits of an option's type say what one who does not know it does:
    00 skips it, anything else discards the packet. The ones we know, Pad1 and PadN, have 00.
    """
    position = 0
    while position < len(options):
        kind = options[position]
        if kind == 0:
            position += 1
            continue
        if kind & 0xC0 or position + 2 > len(options):
            return False
        position += 2 + options[position + 1]
    return position == len(options)


# ---- building ----


def build(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    *,
    ecn: int = 0,
    hop_limit: int = 64,
    identification: int = 0,
) -> bytes:
    """A tunnel packet of the family of ``source``.

    IPv4: no options, DF clear, the low 16 bits of ``identification``, a real checksum. IPv6: no
    extension headers, flow label 0. DSCP 0. ``Drop(TOO_BIG)`` past what the length field can say.
    """
    if len(source) == 16:
        if len(payload) > MAX_PACKET:
            raise Drop(Reason.TOO_BIG)
        first_word = 6 << 28 | ecn << 20
        header = _IPV6_LAYOUT.pack(
            first_word, len(payload), protocol, hop_limit, source, destination
        )
        return header + payload
    total_length = IPV4_HEADER_LENGTH + len(payload)
    if total_length > MAX_PACKET:
        raise Drop(Reason.TOO_BIG)
    identification &= 0xFFFF
    total = (
        (0x4500 | ecn)
        + total_length
        + identification
        + (hop_limit << 8 | protocol)
        + partial_sum(source + destination)
    )
    header = _IPV4_LAYOUT.pack(
        0x45,
        ecn,
        total_length,
        identification,
        0,
        hop_limit,
        protocol,
        complement(total),
        source,
        destination,
    )
    return header + payload


# ---- changing a packet on its way ----


def ecn_of(packet: bytes) -> int:
    """The ECN codepoint of a tunnel packet; ``Drop(INNER_MALFORMED)`` if it is none."""
    ip_version(packet)
    return ecn_at(packet, 0)


def destination_of(packet: bytes) -> bytes:
    """Where a tunnel packet goes; ``Drop(INNER_MALFORMED)`` if it is none."""
    return packet[16:20] if ip_version(packet) == 4 else packet[24:40]


def mark_ce(packet: bytes) -> bytes:
    """The packet with Congestion Experienced if it is ECN-capable, unchanged if it is not."""
    ecn = ecn_of(packet)
    return with_ecn(packet, 0, ECN_CE) if ecn in (ECN_ECT0, ECN_ECT1) else packet


def ecn_at(data: bytes, start: int) -> int:
    """The ECN codepoint of the IP header at ``start``, whose fixed part must be there."""
    if data[start] >> 4 == 4:
        return data[start + 1] & 3
    return data[start + 1] >> 4 & 3


def with_ecn(data: bytes, start: int, ecn: int) -> bytes:
    """``data`` with another ECN codepoint in the IP header at ``start``.

    The IPv4 checksum is updated, not computed anew: one that was wrong stays wrong.
    """
    changed = bytearray(data)
    if data[start] >> 4 == 4:
        old = data[start] << 8 | data[start + 1]
        new = old & ~3 | ecn
        changed[start + 1] = new & 0xFF
        check = replace_word(data[start + 10] << 8 | data[start + 11], old, new)
        changed[start + 10 : start + 12] = check.to_bytes(2, "big")
    else:
        changed[start + 1] = data[start + 1] & 0xCF | ecn << 4
    return bytes(changed)


def decrement_hop_limit(packet: bytes) -> bytes:
    """The packet as a hub relays it: TTL or hop limit less one, trimmed to its IP length.

    Raises ``Drop(TTL)`` where that would leave nothing, ``Drop(BAD_CHECKSUM)`` for an IPv4 header
    checksum (RFC 1812, 5.2.2: a router must verify it), ``Drop(INNER_MALFORMED)`` for lengths.
    """
    if ip_version(packet) == 4:
        _, total_length = _ipv4_lengths(packet)
        position = 8
    else:
        total_length = _ipv6_length(packet)
        position = 7
    if packet[position] <= 1:
        raise Drop(Reason.TTL)
    changed = bytearray(packet[:total_length])
    changed[position] -= 1
    if position == 8:
        old = packet[8] << 8 | packet[9]
        check = replace_word(packet[10] << 8 | packet[11], old, old - 0x0100)
        changed[10:12] = check.to_bytes(2, "big")
    return bytes(changed)


def is_martian(address: bytes) -> bool:
    """Whether no host can have it: multicast, broadcast, loopback, unspecified.

    RFC 1812, section 5.3.7, and RFC 4291, section 2.5; Linux drops what comes from there.
    """
    if len(address) == 4:
        return (
            address[0] == 127
            or address[0] >> 4 == 14  # 224.0.0.0/4
            or address in (bytes(4), b"\xff\xff\xff\xff")
        )
    return address[0] == 0xFF or (address[:15] == bytes(15) and address[15] <= 1)  # ff00::/8 :: ::1


def routable(destination: bytes) -> bool:
    """Whether a hub may forward to ``destination``: not where no host is, nor to a link-local."""
    if is_martian(destination):
        return False
    if len(destination) == 4:
        return destination[:2] != b"\xa9\xfe"  # 169.254.0.0/16
    return not (destination[0] == 0xFE and destination[1] & 0xC0 == 0x80)  # fe80::/10

"""Ethernet frames as far as the overlay looks into them: addresses, tags, and where IP begins."""

from __future__ import annotations

HEADER_LENGTH = 14
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD

ZERO_MAC = bytes(6)
BROADCAST = b"\xff" * 6

_TAGS = frozenset((0x8100, 0x88A8))
"""802.1Q and 802.1ad: two bytes of tag follow, then the next EtherType."""
MAX_TAGS = 8
"""As deep as Linux looks."""

ZERO_GROUP_IPV4 = bytes.fromhex("01005e000000")
ZERO_GROUP_IPV6 = bytes.fromhex("333300000000")
"""224.0.0.0 and ff02::, which nobody joins: they stand for all of their family."""

_RESERVED_GROUP = bytes.fromhex("0180c20000")


def is_group(mac: bytes) -> bool:
    """Whether ``mac`` is a multicast or the broadcast address."""
    return bool(mac[0] & 1)


def is_valid_source(mac: bytes) -> bool:
    """Whether a station may have this address: neither a group's nor all zeros."""
    return not mac[0] & 1 and mac != ZERO_MAC


def is_reserved_group(mac: bytes) -> bool:
    """01:80:c2:00:00:01 to 0f: link-local by IEEE 802.1Q, table 8-1; a bridge never forwards them.

    00 (spanning tree, which we do not speak), 10, 20 and 21 are forwarded, as Linux does.
    """
    return mac[:5] == _RESERVED_GROUP and 1 <= mac[5] <= 0x0F


def is_joined(mac: bytes) -> bool:
    """Whether this is a group of IPv4 or IPv6 that hosts join, and say so, to be sent to.

    Not 224.0.0.0/24, of which RFC 4541, section 2.1.2, says that it "must be forwarded on all
    ports", nor what it has in common in IPv6: 33:33:00:00:00 (all nodes, routers, mDNS) and
    33:33:ff (solicited nodes), on which neighbour discovery depends; nor any other group.
    """
    if mac[:2] == b"\x33\x33":
        return mac[2] != 0xFF and mac[2:5] != bytes(3)
    return mac[:3] == b"\x01\x00\x5e" and mac[3:5] != bytes(2)


def payload_type(frame: bytes) -> tuple[int, int]:
    """The EtherType behind all VLAN tags and where its payload begins.

    A frame that ends within its tags, or has more than 8, is of the last tag's type.
    """
    ethertype, position = frame[12] << 8 | frame[13], HEADER_LENGTH
    for _ in range(MAX_TAGS):
        if ethertype not in _TAGS or len(frame) < position + 4:
            break
        ethertype = frame[position + 2] << 8 | frame[position + 3]
        position += 4
    return ethertype, position


def ip_header(frame: bytes) -> tuple[int, int, int]:
    """EtherType, IP version (0: not IP) and payload offset of a ``frame`` of 14 bytes or more.

    The version counts only if it agrees with the EtherType and the fixed header is all there.
    """
    ethertype, position = payload_type(frame)
    room = len(frame) - position
    if ethertype == ETHERTYPE_IPV4:
        # IHL counts 32-bit words and is at least 5.
        if room >= 20 and 0x45 <= frame[position] <= 0x4F:
            return ethertype, 4, position
    elif ethertype == ETHERTYPE_IPV6 and room >= 40 and frame[position] >> 4 == 6:
        return ethertype, 6, position
    return ethertype, 0, position

"""Announcements: the frames by which a TAP tells the overlay who it is and where."""

from __future__ import annotations

import struct

from wgvx.vxlan import ip
from wgvx.vxlan.ethernet import BROADCAST, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ZERO_MAC

_ARP_REQUEST = 1
_HARDWARE_ETHERNET = 1
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_NEIGHBOUR_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000
_TARGET_LINK_LAYER_ADDRESS = 2


def gratuitous_arp(mac: bytes, ipv4: bytes) -> bytes:
    """An ARP announcement (RFC 5227, section 3): a broadcast request, sender and target ``ipv4``.

    42 bytes; whoever knows the address already takes the new MAC, and every bridge learns it.
    """
    ethernet = BROADCAST + mac + ETHERTYPE_ARP.to_bytes(2, "big")
    fixed = struct.pack("!HHBBH", _HARDWARE_ETHERNET, ETHERTYPE_IPV4, 6, 4, _ARP_REQUEST)
    return ethernet + fixed + mac + ipv4 + ZERO_MAC + ipv4


def unsolicited_advertisement(mac: bytes, ipv6: bytes) -> bytes:
    """An unsolicited neighbour advertisement (RFC 4861, sections 4.4 and 7.2.6).

    86 bytes, to all nodes, with the override flag, hop limit 255 and the target link-layer address.
    """
    body = struct.pack("!I", _OVERRIDE) + ipv6 + bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) + mac
    head = bytes((_NEIGHBOUR_ADVERTISEMENT, 0))
    total = ip.pseudo_sum(ipv6, _ALL_NODES, ip.PROTOCOL_ICMPV6, len(head) + 2 + len(body))
    check = ip.complement(total + ip.partial_sum(head) + ip.partial_sum(body))
    message = head + check.to_bytes(2, "big") + body
    packet = ip.build(ipv6, _ALL_NODES, ip.PROTOCOL_ICMPV6, message, hop_limit=255)
    return _ALL_NODES_MAC + mac + ETHERTYPE_IPV6.to_bytes(2, "big") + packet

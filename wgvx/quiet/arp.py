"""ARP (RFC 826) for IPv4 over Ethernet, as far as a bridge that answers for others needs it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from wgvx.vxlan.ethernet import ETHERTYPE_ARP, HEADER_LENGTH

REQUEST = 1
REPLY = 2

_LAYOUT = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
"""ar$hrd, ar$pro, ar$hln, ar$pln."""


class Arp(NamedTuple):
    """One message: MACs of 6 bytes, addresses of 4."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target: bytes


def parse(frame: bytes) -> Arp | None:
    """The message in a ``frame`` of EtherType 0x0806; None where it is no ARP for IPv4, or cut."""
    if len(frame) < HEADER_LENGTH + _LAYOUT.size:
        return None
    *kind, operation, sender_mac, sender, _, target = _LAYOUT.unpack_from(frame, HEADER_LENGTH)
    if tuple(kind) != _ETHERNET_IPV4 or operation not in (REQUEST, REPLY):
        return None
    return Arp(operation, sender_mac, sender, target)


def reply(mac: bytes, address: bytes, to_mac: bytes, to_address: bytes) -> bytes:
    """The frame in which the station ``mac`` says that it has ``address``."""
    message = _LAYOUT.pack(*_ETHERNET_IPV4, REPLY, mac, address, to_mac, to_address)
    return to_mac + mac + ETHERTYPE_ARP.to_bytes(2, "big") + message

"""Neighbor Discovery for IPv6 (RFC 4861), as far as a bridge that answers for others needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wgvx.vxlan.ethernet import ETHERTYPE_IPV6, HEADER_LENGTH
from wgvx.vxlan.ip import (
    IPV6_HEADER_LENGTH,
    PROTOCOL_ICMPV6,
    build,
    complement,
    partial_sum,
    pseudo_sum,
)

ROUTER_ADVERTISEMENT = 134
SOLICITATION = 135
ADVERTISEMENT = 136

SOURCE_LINK_LAYER_ADDRESS = 1
TARGET_LINK_LAYER_ADDRESS = 2

ROUTER = 0x80
SOLICITED = 0x40
OVERRIDE = 0x20
"""Flags of an advertisement (section 4.4)."""

UNSPECIFIED = bytes(16)

_HOP_LIMIT = 255
_FIXED_LENGTHS = {ROUTER_ADVERTISEMENT: 16, SOLICITATION: 24, ADVERTISEMENT: 24}
"""Bytes before the options."""
_SECURED = frozenset((11, 12, 13, 14))
"""CGA, RSA signature, timestamp and nonce (RFC 3971): nobody can answer in the owner's place."""


class Message(NamedTuple):
    """One that passed the checks of RFC 4861, sections 6.1.2, 7.1.1 and 7.1.2."""

    type: int
    source: bytes
    destination: bytes
    flags: int
    """An advertisement's; 0 with the others."""
    target: bytes
    """Whom it is about; the sender with a router's advertisement."""
    link_layer_address: bytes | None
    """In its option: the sender's, with an advertisement the target's."""
    is_secured: bool
    lifetime: int
    """Seconds that the sender stays a router; 0 with the others."""


def parse(frame: bytes) -> Message | None:
    """The message in a ``frame`` of EtherType 0x86DD; None where it is none of the three, or
    behind an extension header, or not valid.
    """
    start = HEADER_LENGTH + IPV6_HEADER_LENGTH
    header = frame[HEADER_LENGTH:start]
    if len(header) < IPV6_HEADER_LENGTH or header[0] >> 4 != 6:
        return None
    length = header[4] << 8 | header[5]
    source, destination = header[8:24], header[24:40]
    message = frame[start : start + length]
    # "The IP Hop Limit field has a value of 255, i.e., the packet could not possibly have been
    # forwarded by a router."
    if header[6] != PROTOCOL_ICMPV6 or header[7] != _HOP_LIMIT or len(message) < max(length, 8):
        return None
    kind = message[0]
    fixed = _FIXED_LENGTHS.get(kind)
    if fixed is None or message[1] or len(message) < fixed:
        return None
    if complement(pseudo_sum(source, destination, PROTOCOL_ICMPV6, length) + partial_sum(message)):
        return None
    options = dict(_options(message[fixed:]))
    if None in options:
        return None
    target = source if kind == ROUTER_ADVERTISEMENT else message[8:24]
    flags = message[4] if kind == ADVERTISEMENT else 0
    if target[0] == 0xFF or (flags & SOLICITED and destination[0] == 0xFF):
        return None
    about = TARGET_LINK_LAYER_ADDRESS if kind == ADVERTISEMENT else SOURCE_LINK_LAYER_ADDRESS
    mac = options.get(about)
    if kind == SOLICITATION and source == UNSPECIFIED:
        # "there is no source link-layer address option in the message", and it goes to the group.
        if mac is not None or destination != solicited_node(target):
            return None
    elif source == UNSPECIFIED:
        return None
    return Message(
        kind,
        source,
        destination,
        flags,
        target,
        mac if mac is not None and len(mac) == 6 else None,
        not _SECURED.isdisjoint(options),
        message[6] << 8 | message[7] if kind == ROUTER_ADVERTISEMENT else 0,
    )


def solicited_node(address: bytes) -> bytes:
    """The group in which whoever has ``address`` listens (RFC 4291, section 2.7.1)."""
    return bytes.fromhex("ff0200000000000000000001ff") + address[13:]


def advertisement(mac: bytes, address: bytes, flags: int, to_mac: bytes, to: bytes) -> bytes:
    """The frame in which the station ``mac`` says that it has ``address``."""
    message = bytes((ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0)) + address
    message += bytes((TARGET_LINK_LAYER_ADDRESS, 1)) + mac
    total = pseudo_sum(address, to, PROTOCOL_ICMPV6, len(message)) + partial_sum(message)
    message = message[:2] + complement(total).to_bytes(2, "big") + message[4:]
    packet = build(address, to, PROTOCOL_ICMPV6, message, hop_limit=_HOP_LIMIT)
    return to_mac + mac + ETHERTYPE_IPV6.to_bytes(2, "big") + packet


def _options(data: bytes) -> Iterator[tuple[int | None, bytes]]:
    """(type, value) of each; one of type None where they do not fit: "All included options have a
    length that is greater than zero".
    """
    position = 0
    while position < len(data):
        length = 8 * data[position + 1] if position + 1 < len(data) else 0
        if not length or position + length > len(data):
            yield None, b""
            return
        yield data[position], data[position + 2 : position + length]
        position += length

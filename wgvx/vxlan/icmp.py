"""Echoes (RFC 792, RFC 4443): the tunnel address answers a ping, and pings a peer's."""

from __future__ import annotations

from wgvx.drops import Drop, Reason
from wgvx.vxlan.ip import (
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    IpPacket,
    complement,
    partial_sum,
    pseudo_sum,
)

HEADER_LENGTH = 8

# Per family: the protocol, the type of a request and the type of its reply.
_ECHO = {4: (PROTOCOL_ICMP, 8, 0), 16: (PROTOCOL_ICMPV6, 128, 129)}


def echo_reply(packet: IpPacket) -> bytes | None:
    """The message that answers a whole ``packet``, to go from its destination to its source.

    It is the request with its type changed: code, identifier, sequence number and data come back as
    they were, as Linux does it. ``None`` for anything but an echo request of the packet's family.
    Raises ``Drop(INNER_MALFORMED)`` below 8 bytes, ``Drop(BAD_CHECKSUM)`` for a wrong checksum.
    """
    protocol, request, reply = _ECHO[len(packet.source)]
    message = packet.payload
    if packet.protocol != protocol:
        return None
    if len(message) < HEADER_LENGTH:
        raise Drop(Reason.INNER_MALFORMED)
    # ICMPv6 has a pseudo-header, ICMP has none. It sums alike with the addresses swapped.
    pseudo = 0
    if protocol == PROTOCOL_ICMPV6:
        pseudo = pseudo_sum(packet.source, packet.destination, protocol, len(message))
    if complement(pseudo + partial_sum(message)):
        raise Drop(Reason.BAD_CHECKSUM)
    if message[0] != request:
        return None
    type_and_code = bytes((reply, message[1]))
    rest = message[4:]
    check = complement(pseudo + partial_sum(type_and_code) + partial_sum(rest))
    return type_and_code + check.to_bytes(2, "big") + rest


def echo_request(source: bytes, destination: bytes, rest: bytes) -> bytes:
    """A request whose identifier, sequence number and data are ``rest``, at least 4 bytes."""
    protocol, request, _ = _ECHO[len(source)]
    return _message(source, destination, protocol, request, rest)


def echoed(packet: IpPacket) -> bytes | None:
    """What a whole ``packet``, an echo reply, brings back: the ``rest`` of its request.

    ``None`` for anything else, and for a wrong checksum.
    """
    protocol, _, reply = _ECHO[len(packet.source)]
    message = packet.payload
    if packet.protocol != protocol or len(message) < HEADER_LENGTH or message[0] != reply:
        return None
    rest = message[4:]
    if _message(packet.source, packet.destination, protocol, reply, rest) != message:
        return None
    return rest


def protocol_of(address: bytes) -> int:
    """The ICMP of an address's family."""
    return _ECHO[len(address)][0]


def _message(source: bytes, destination: bytes, protocol: int, kind: int, rest: bytes) -> bytes:
    pseudo = 0
    if protocol == PROTOCOL_ICMPV6:
        pseudo = pseudo_sum(source, destination, protocol, len(rest) + 4)
    type_and_code = bytes((kind, 0))
    check = complement(pseudo + partial_sum(type_and_code) + partial_sum(rest))
    return type_and_code + check.to_bytes(2, "big") + rest

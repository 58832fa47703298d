"""UDP (RFC 768, RFC 8200 section 8.1) inside a tunnel packet."""

from __future__ import annotations

import struct

from wgvx.drops import Drop, Reason
from wgvx.vxlan.ip import PROTOCOL_UDP, IpPacket, complement, partial_sum, pseudo_sum

HEADER_LENGTH = 8

_LAYOUT = struct.Struct("!HHHH")


def build(
    source: bytes, destination: bytes, source_port: int, destination_port: int, payload: bytes
) -> bytes:
    """Header, with a real checksum over either family, and ``payload``.

    ``source`` and ``destination`` are the packed addresses of the IP header to come.
    ``Drop(TOO_BIG)`` past what the length field can say.
    """
    length = HEADER_LENGTH + len(payload)
    if length > 0xFFFF:
        raise Drop(Reason.TOO_BIG)
    total = (
        pseudo_sum(source, destination, PROTOCOL_UDP, length)
        + source_port
        + destination_port
        + length
        + partial_sum(payload)
    )
    # RFC 768: a computed 0 is sent as all ones, for 0 means that there is no checksum.
    check = complement(total) or 0xFFFF
    return _LAYOUT.pack(source_port, destination_port, length, check) + payload


def parse(packet: IpPacket) -> tuple[int, int, bytes]:
    """Source port, destination port and payload of a whole packet of protocol 17.

    Raises ``Drop(INNER_MALFORMED)`` for a length that lies, ``Drop(BAD_CHECKSUM)`` for a wrong
    checksum, or none over IPv6; none over IPv4 is accepted. Bytes past the UDP length are trimmed.
    """
    segment = packet.payload
    if len(segment) < HEADER_LENGTH:
        raise Drop(Reason.INNER_MALFORMED)
    source_port, destination_port, length, check = _LAYOUT.unpack_from(segment)
    if not HEADER_LENGTH <= length <= len(segment):
        raise Drop(Reason.INNER_MALFORMED)
    segment = segment[:length]
    if check:
        pseudo = pseudo_sum(packet.source, packet.destination, PROTOCOL_UDP, length)
        if complement(pseudo + partial_sum(segment)):
            raise Drop(Reason.BAD_CHECKSUM)
    elif len(packet.source) == 16:
        raise Drop(Reason.BAD_CHECKSUM)
    return source_port, destination_port, segment[HEADER_LENGTH:]

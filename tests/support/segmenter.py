"""Software segmentation in plain Python: a super-frame and its virtio-net header -> frames.

Written from the rules of Linux, one after the other, to hold C against it: ``inet_gso_segment``,
``ipv6_gso_segment``, ``tcp_gso_segment``, ``__udp_gso_segment`` and ``skb_checksum_help``.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.vxlan.packets import naive_checksum

NEEDS_CSUM = 1

NONE = 0
TCPV4 = 1
TCPV6 = 4
UDP_L4 = 5
ECN = 0x80

TCP = 6
UDP = 17

FIN = 0x01
PSH = 0x08
CWR = 0x80

_ETHERNET = 14
_TAGS = (0x8100, 0x88A8)
_MAX_TAGS = 8
_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS = 0, 43, 60
_CHECK = {TCP: 16, UDP: 6}
"""Where the checksum is in the header."""


class VnetHeader(NamedTuple):
    """``struct virtio_net_hdr`` of linux/virtio_net.h."""

    flags: int = 0
    gso_type: int = 0
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def pack(self) -> bytes:
        return struct.pack("=BBHHHH", *self)

    @classmethod
    def unpack(cls, data: bytes) -> VnetHeader:
        return cls(*struct.unpack("=BBHHHH", data))


class ContradictionError(ValueError):
    """The virtio-net header does not fit the frame."""


class _Layout(NamedTuple):
    version: int
    l3: int
    l4: int
    protocol: int


def segment(header: VnetHeader, frame: bytes) -> list[bytes]:
    """The frames that the kernel would make of it; ``ContradictionError`` where it cannot be."""
    if header.flags & NEEDS_CSUM:
        _require(header.csum_start >= _ETHERNET, "a checksum in the Ethernet header")
        end = header.csum_start + header.csum_offset + 2
        _require(end <= len(frame), "a checksum behind the end")
    if header.gso_type != NONE:
        layout = _locate(frame)
        _validate(header, frame, layout)
        head = layout.l4 + _header_length(frame, layout)
        if len(frame) - head > header.gso_size:
            return _cut(frame, layout, head, header.gso_size)
    if header.flags & NEEDS_CSUM:
        return [_complete(frame, header.csum_start, header.csum_offset)]
    return [frame]


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ContradictionError(otherwise)


def _word(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "big")


# ---- what is there ----


def _locate(frame: bytes) -> _Layout:
    """Where IP and what it carries begin."""
    _require(len(frame) >= _ETHERNET, "no Ethernet header")
    position = 12
    tags = 0
    while _word(frame, position) in _TAGS and tags < _MAX_TAGS and len(frame) >= position + 6:
        position += 4
        tags += 1
    ethertype, l3 = _word(frame, position), position + 2
    if ethertype == 0x0800:
        return _locate_ipv4(frame, l3)
    if ethertype == 0x86DD:
        return _locate_ipv6(frame, l3)
    raise ContradictionError("no IP")


def _locate_ipv4(frame: bytes, l3: int) -> _Layout:
    packet = frame[l3:]
    _require(len(packet) >= 20, "IPv4 header too short")
    _require(packet[0] >> 4 == 4 and packet[0] & 0x0F >= 5, "no IPv4 header")
    _require(_word(packet, 2) == len(packet), "IPv4 total length")
    _require(_word(packet, 6) & 0x3FFF == 0, "a fragment")
    return _Layout(4, l3, l3 + 4 * (packet[0] & 0x0F), packet[9])


def _locate_ipv6(frame: bytes, l3: int) -> _Layout:
    packet = frame[l3:]
    _require(len(packet) >= 40 and packet[0] >> 4 == 6, "no IPv6 header")
    _require(_word(packet, 4) == len(packet) - 40, "IPv6 payload length")
    protocol, position = packet[6], 40
    while protocol in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS):
        _require(position + 8 <= len(packet), "IPv6 extension header too short")
        protocol, length = packet[position], 8 + 8 * packet[position + 1]
        position += length
    return _Layout(6, l3, l3 + position, protocol)


def _header_length(frame: bytes, layout: _Layout) -> int:
    return 4 * (frame[layout.l4 + 12] >> 4) if layout.protocol == TCP else 8


def _validate(header: VnetHeader, frame: bytes, layout: _Layout) -> None:
    wanted = {
        TCPV4: (4, TCP),
        TCPV4 | ECN: (4, TCP),
        TCPV6: (6, TCP),
        TCPV6 | ECN: (6, TCP),
        UDP_L4: (layout.version, UDP),
    }
    _require(header.gso_type in wanted, "unknown gso_type")
    _require(wanted[header.gso_type] == (layout.version, layout.protocol), "another protocol")
    _require(header.gso_size > 0, "gso_size 0")
    _require(bool(header.flags & NEEDS_CSUM), "no sum of the pseudo-header")
    _require(header.csum_start == layout.l4, "csum_start")
    _require(header.csum_offset == _CHECK[layout.protocol], "csum_offset")
    upper = frame[layout.l4 :]
    if layout.protocol == TCP:
        _require(len(upper) >= 20, "TCP header too short")
        _require(20 <= 4 * (upper[12] >> 4) <= len(upper), "TCP data offset")
    else:
        _require(len(upper) >= 8, "UDP header too short")
        _require(_word(upper, 4) == len(upper), "UDP length")
    # No kernel's: offsets of the headers have 16 bits.
    _require(layout.l4 + _header_length(frame, layout) <= 0xFFFF, "headers too long")


# ---- what it becomes ----


def _complete(frame: bytes, start: int, offset: int) -> bytes:
    """``skb_checksum_help``: the field holds the pseudo-header's sum; 0 is never written."""
    check = naive_checksum(frame[start:]) or 0xFFFF
    field = start + offset
    return frame[:field] + check.to_bytes(2, "big") + frame[field + 2 :]


def _cut(frame: bytes, layout: _Layout, head: int, gso_size: int) -> list[bytes]:
    payload = frame[head:]
    pieces = [payload[at : at + gso_size] for at in range(0, len(payload), gso_size)]
    last = len(pieces) - 1
    frames = []
    for number, piece in enumerate(pieces):
        upper = frame[layout.l4 : head]
        if layout.protocol == TCP:
            upper = _tcp_header(upper, number * gso_size, number == 0, number == last)
        else:
            upper = upper[:4] + (8 + len(piece)).to_bytes(2, "big") + upper[6:]
        upper = _checksummed(upper + piece, layout.protocol, len(frame) - layout.l4)
        internet = frame[layout.l3 : layout.l4]
        if layout.version == 4:
            internet = _ipv4_header(internet, len(upper), number)
        else:
            internet = _ipv6_header(internet, len(upper))
        frames.append(frame[: layout.l3] + internet + upper)
    return frames


def _tcp_header(header: bytes, offset: int, is_first: bool, is_last: bool) -> bytes:
    """Sequence number and flags: FIN and PSH on the last alone, CWR on the first alone."""
    seq = (int.from_bytes(header[4:8], "big") + offset) % 2**32
    flags = header[13]
    if not is_last:
        flags &= ~(FIN | PSH)
    if not is_first:
        flags &= ~CWR
    return header[:4] + seq.to_bytes(4, "big") + header[8:13] + bytes([flags]) + header[14:]


def _checksummed(upper: bytes, protocol: int, large_length: int) -> bytes:
    """The field holds the sum of the large frame's pseudo-header: only its length is replaced."""
    field = _CHECK[protocol]
    pseudo = _word(upper, field) + (0xFFFF - large_length) + len(upper)
    pseudo = pseudo % 0xFFFF
    partial = upper[:field] + pseudo.to_bytes(2, "big") + upper[field + 2 :]
    check = naive_checksum(partial)
    if protocol == UDP and check == 0:
        check = 0xFFFF  # RFC 768: 0 says that there is none
    return upper[:field] + check.to_bytes(2, "big") + upper[field + 2 :]


def _ipv4_header(header: bytes, upper_length: int, number: int) -> bytes:
    total = len(header) + upper_length
    identification = (_word(header, 4) + number) % 2**16
    changed = header[:2] + struct.pack("!HH", total, identification) + header[6:10]
    check = naive_checksum(changed + b"\0\0" + header[12:])
    return changed + check.to_bytes(2, "big") + header[12:]


def _ipv6_header(header: bytes, upper_length: int) -> bytes:
    """Of the payload, extension headers are a part."""
    return header[:4] + (len(header) - 40 + upper_length).to_bytes(2, "big") + header[6:]

"""TCP's maximum segment size, lowered where a host asks for more than the overlay carries.

Of a SYN the MSS option (RFC 9293, section 3.7.1) is lowered, never raised and never added. A host
that honours its interface's MTU never notices. Twin of native/mss.c.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wgvx.vxlan.ethernet import HEADER_LENGTH, ip_header
from wgvx.vxlan.ip import replace_word

_TCP: Final = 6
_SYN: Final = 0x02
_FRAGMENT: Final = 0x3FFF
"""MF and the offset."""
_EXTENSIONS: Final = frozenset((0, 43, 60))
"""Hop-by-hop options, routing headers, destination options."""
_MAX_EXTENSIONS: Final = 8
_HEADER: Final = 20
_CHECKSUM: Final = 16
_PLAIN_IPV4: Final = b"\x08\x00\x45"
"""Without tags and without options."""
_END, _NOTHING, _MSS = 0, 1, 2


class Mss(NamedTuple):
    """The most that a SYN may ask for, in bytes; 0: as much as it likes."""

    v4: int = 0
    v6: int = 0


UNCLAMPED: Final = Mss()


def clamp(frame: bytes, most: Mss) -> bytes:
    """A ``frame``, with its MSS option lowered to ``most`` if it is a SYN that asks for more.
    Whatever is not as it should be is left as it is.
    """
    if most == UNCLAMPED or len(frame) < HEADER_LENGTH:
        return frame
    if (
        frame[12:15] == _PLAIN_IPV4
        and len(frame) > 47
        and not (frame[47] & _SYN and frame[23] == _TCP)
    ):
        return frame  # As nearly all that there is; this says nothing but what follows does.
    _, version, l3 = ip_header(frame)
    if version == 4:
        limit, tcp, end = most.v4, *_ipv4_tcp(frame, l3)
    elif version == 6:
        limit, tcp, end = most.v6, *_ipv6_tcp(frame, l3)
    else:
        return frame
    if not limit or not tcp or end - tcp < _HEADER or not frame[tcp + 13] & _SYN:
        return frame
    at = _option(frame, tcp, end)
    if not at or (asked := frame[at] << 8 | frame[at + 1]) <= limit:
        return frame
    lowered = bytearray(frame)
    lowered[at : at + 2] = limit.to_bytes(2, "big")
    check = tcp + _CHECKSUM
    if (at - tcp) % 2:  # It stands across two words of the sum.
        asked, limit = _swapped(asked), _swapped(limit)
    summed = replace_word(frame[check] << 8 | frame[check + 1], asked, limit)
    lowered[check : check + 2] = summed.to_bytes(2, "big")
    return bytes(lowered)


def _swapped(word: int) -> int:
    return word >> 8 | (word & 0xFF) << 8


def _ipv4_tcp(frame: bytes, l3: int) -> tuple[int, int]:
    """Where TCP begins, 0 where it does not, and where it ends."""
    end = l3 + (frame[l3 + 2] << 8 | frame[l3 + 3])
    fragment = (frame[l3 + 6] << 8 | frame[l3 + 7]) & _FRAGMENT
    if frame[l3 + 9] != _TCP or fragment or end > len(frame):
        return 0, 0
    return l3 + (frame[l3] & 0x0F) * 4, end


def _ipv6_tcp(frame: bytes, l3: int) -> tuple[int, int]:
    end = l3 + 40 + (frame[l3 + 4] << 8 | frame[l3 + 5])
    protocol, at = frame[l3 + 6], l3 + 40
    if end > len(frame):
        return 0, 0
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS or at + 8 > end:
            break
        protocol, at = frame[at], at + 8 + frame[at + 1] * 8
    return (at, end) if protocol == _TCP else (0, 0)


def _option(frame: bytes, tcp: int, end: int) -> int:
    """Where the value of the MSS option is; 0 where there is none."""
    stop = tcp + (frame[tcp + 12] >> 4) * 4
    if stop > end:
        return 0
    at = tcp + _HEADER
    while at < stop and frame[at] != _END:
        if frame[at] == _NOTHING:
            at += 1
            continue
        if at + 2 > stop or frame[at + 1] < 2 or at + frame[at + 1] > stop:
            return 0
        if frame[at] == _MSS:
            return at + 2 if frame[at + 1] == 4 else 0
        at += frame[at + 1]
    return 0

"""The packets of one flow: one by one, and many at once as a kernel hands them over."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tests.native.superframes import tcp_segment, udp_datagram
from tests.support.segmenter import NEEDS_CSUM, TCP, TCPV4, UDP, UDP_L4, VnetHeader
from tests.vxlan.packets import ethernet, ipv4, ipv6, naive_checksum, pseudo_header

TYPES = {4: 0x0800, 6: 0x86DD}
SYN = 0x02
A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def _checked(upper: bytes, protocol: int, ends: tuple[bytes, bytes]) -> bytes:
    at = 16 if protocol == TCP else 6
    check = naive_checksum(pseudo_header(*ends, protocol, len(upper)) + upper) or 0xFFFF
    return upper[:at] + check.to_bytes(2, "big") + upper[at + 2 :]


@lru_cache(maxsize=1000)
def inner_packet(
    version: int, protocol: int, tos: int, payload: int, number: int, before: int = 0
) -> bytes:
    """A flow's ``number``-th packet; TCP has sent so many bytes ``before``."""
    ends = (A, B) if version == 4 else (bytes(12) + A, bytes(12) + B)
    data = bytes([number & 0xFF]) * payload
    if protocol == TCP:
        upper = _checked(tcp_segment(data, seq=1000 + before), TCP, ends)
    else:
        upper = _checked(udp_datagram(data), UDP, ends)
    if version == 4:
        more: dict[str, Any] = {"source": ends[0], "destination": ends[1], "tos": tos}
        return ipv4(upper, protocol=protocol, identification=number, flags=0x4000, **more)
    more = {"source": ends[0], "destination": ends[1], "traffic_class": tos}
    return ipv6(upper, next_header=protocol, **more)


def syn(version: int, options: bytes, payload: bytes = b"") -> bytes:
    """A packet with a TCP SYN that has these options."""
    ends = (A, B) if version == 4 else (bytes(12) + A, bytes(12) + B)
    upper = _checked(tcp_segment(payload, flags=SYN, options=options), TCP, ends)
    if version == 4:
        return ipv4(upper, source=ends[0], destination=ends[1], protocol=TCP)
    return ipv6(upper, source=ends[0], destination=ends[1], next_header=TCP)


def super_frame(
    protocol: int, size: int, gso_size: int, ecn: int = 0, *, station: bytes, source: bytes
) -> tuple[VnetHeader, bytes]:
    """So many bytes of one flow, as a kernel hands them over at once."""
    upper = tcp_segment(bytes(size), flags=0x18) if protocol == TCP else udp_datagram(bytes(size))
    at = 16 if protocol == TCP else 6
    pseudo = 0xFFFF - naive_checksum(pseudo_header(A, B, protocol, len(upper)))
    upper = upper[:at] + pseudo.to_bytes(2, "big") + upper[at + 2 :]
    flow = ipv4(upper, source=A, destination=B, protocol=protocol, tos=ecn)
    kind = TCPV4 if protocol == TCP else UDP_L4
    header = VnetHeader(NEEDS_CSUM, kind, 0, gso_size, 34, at)
    return header, ethernet(flow, destination=station, source=source)

"""What a frame tells its tunnel packet: the flow it belongs to and its congestion codepoint."""

from __future__ import annotations

from zlib import crc32

from wgvx.vxlan.ethernet import HEADER_LENGTH, ip_header
from wgvx.vxlan.ip import ecn_at

# RFC 7348, section 5: "it is RECOMMENDED that the value be in the dynamic/private port range".
FIRST_SOURCE_PORT = 49152
# 2^32 over the golden ratio (Knuth, 6.4): CRC-32 is linear, so flows that count up in one field
# would often reach only half of the ports, or a quarter, without it.
_MULTIPLIER = 0x9E3779B1

# TCP, UDP, SCTP: the protocols whose header begins with two ports.
_WITH_PORTS = frozenset((6, 17, 132))


def frame_ecn(frame: bytes) -> int:
    """The ECN codepoint of a frame's IP header, behind VLAN tags too; 0 where there is none."""
    if len(frame) < HEADER_LENGTH:
        return 0
    _, version, position = ip_header(frame)
    return ecn_at(frame, position) if version else 0


def source_port(frame: bytes) -> int:
    """The UDP source port, 49152..65535: the entropy by which the underlay spreads flows.

    49152 plus the highest 14 of the 32 bits of ``CRC-32(flow_key) * 0x9E3779B1 mod 2^32``, the
    CRC-32 being that of zlib and Ethernet.
    """
    return FIRST_SOURCE_PORT + ((crc32(flow_key(frame)) * _MULTIPLIER & 0xFFFFFFFF) >> 18)


def flow_key(frame: bytes) -> bytes:
    """The bytes that all frames of a flow have in common, in this order:

    - destination MAC, source MAC, and the EtherType behind all VLAN tags (a frame of fewer than 14
      bytes: all it has);
    - if that is IPv4 or IPv6 with its whole fixed header: source address, destination address, and
      the protocol or next header;
    - if that is TCP, UDP or SCTP, the packet is no fragment, and they are there: the two ports, 4
      bytes. An IPv6 extension header ends the key.
    """
    if len(frame) < HEADER_LENGTH:
        return frame
    ethertype, version, position = ip_header(frame)
    key = frame[:12] + ethertype.to_bytes(2, "big")
    if version == 4:
        protocol = frame[position + 9]
        key += frame[position + 12 : position + 20] + frame[position + 9 : position + 10]
        # Later fragments have no ports: so the first, MF set, goes without them too.
        if (frame[position + 6] << 8 | frame[position + 7]) & 0x3FFF:
            return key
        upper = position + (frame[position] & 0x0F) * 4
    elif version == 6:
        protocol = frame[position + 6]
        key += frame[position + 8 : position + 40] + frame[position + 6 : position + 7]
        upper = position + 40
    else:
        return key
    if protocol in _WITH_PORTS and len(frame) >= upper + 4:
        key += frame[upper : upper + 4]
    return key

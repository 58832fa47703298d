"""Frames of all kinds, from the far end to the stack."""

from __future__ import annotations

import struct

from tests.stack.rig import FAR, MAC, OURS, address
from wgvx.vxlan import ip
from wgvx.vxlan.neighbour import gratuitous_arp, unsolicited_advertisement

THEIRS = bytes.fromhex("020000000002")
TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
SYN, ACK, FIN, RST, PUSH = 2, 16, 1, 4, 8
PORT = 80


def packet(
    family: int,
    protocol: int,
    payload: bytes,
    checksum_at: int | None = None,
    source_ip: str | None = None,
) -> bytes:
    """A frame with a packet from the far end, or from ``source_ip``, to ours, its checksum filled
    in."""
    source, ours = address(source_ip or FAR[family]).packed, address(OURS[family]).packed
    if checksum_at is not None:
        total = ip.partial_sum(payload)
        if protocol != ICMP:
            total += ip.pseudo_sum(source, ours, protocol, len(payload))
        check = ip.complement(total).to_bytes(2, "big")
        payload = payload[:checksum_at] + check + payload[checksum_at + 2 :]
    return MAC + THEIRS + TYPES[family] + ip.build(source, ours, protocol, payload, hop_limit=255)


def segment(
    family: int,
    flags: int,
    *,
    port: int = 4000,
    seq: int = 1,
    ack: int = 0,
    data: bytes = b"",
    options: bytes = b"",
    to: int = PORT,
    source: str | None = None,
) -> bytes:
    head = struct.pack(
        "!HHIIBBHHH", port, to, seq, ack, (5 + len(options) // 4) << 4, flags, 65535, 0, 0
    )
    return packet(family, TCP, head + options + data, 16, source)


def ping(family: int) -> bytes:
    if family == 4:
        return packet(4, ICMP, struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"ping", 2)
    return packet(6, ICMP6, struct.pack("!BBHHH", 128, 0, 0, 1, 1) + b"ping", 2)


def introductions() -> list[bytes]:
    """What makes the stack know where the far end is."""
    solicited = struct.pack("!BBHI", 135, 0, 0, 0) + address(OURS[6]).packed + b"\1\1" + THEIRS
    arp = bytes.fromhex("00010800060400010200000000020a0000020000000000000a000009")
    return [b"\xff" * 6 + THEIRS + b"\x08\x06" + arp, packet(6, ICMP6, solicited, 2)]


def templates() -> list[bytes]:
    fragment = struct.pack("!BBHI", UDP, 0, 1, 7) + bytes(24)
    found = [
        gratuitous_arp(THEIRS, address(FAR[4]).packed),
        unsolicited_advertisement(THEIRS, address(FAR[6]).packed),
        packet(6, 44, fragment),
        packet(6, 0, bytes((TCP, 0, 5, 2, 0, 0, 1, 0)) + bytes(20)),
        packet(6, ICMP6, struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + bytes(32), 2),
        packet(6, ICMP6, struct.pack("!BBHI", 2, 0, 0, 1280) + bytes(60), 2),
        packet(6, ICMP6, struct.pack("!BBHI", 130, 0, 0, 0) + bytes(16), 2),
        packet(4, ICMP, struct.pack("!BBHI", 3, 3, 0, 0) + bytes(40), 2),
        packet(4, 2, bytes(8)),
    ]
    for family in (4, 6):
        found.append(ping(family))
        found.append(packet(family, UDP, struct.pack("!HHHH", 53, 50000, 20, 0) + bytes(12), 6))
        for flags in (SYN, ACK, SYN | ACK, FIN | ACK, RST, PUSH | ACK):
            found.append(segment(family, flags, data=b"x" * 40))
            found.append(segment(family, flags, options=bytes.fromhex("020405b4010303070402080a")))
    # IPv4 in fragments: the first, the last, one in between.
    whole = bytearray(packet(4, UDP, struct.pack("!HHHH", 9, 9, 80, 0) + bytes(72)))
    for bits in (0x2000, 0x0002, 0x2005):
        whole[20:22] = bits.to_bytes(2, "big")
        whole[24:26] = b"\0\0"
        whole[24:26] = ip.complement(ip.partial_sum(bytes(whole[14:34]))).to_bytes(2, "big")
        found.append(bytes(whole))
    return found

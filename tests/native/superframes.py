"""Super-frames as a kernel hands them to a TAP, and the frames of TCP and UDP flows."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.support.segmenter import ECN, NEEDS_CSUM, TCP, TCPV4, TCPV6, UDP, UDP_L4, VnetHeader
from tests.vxlan.packets import (
    A4,
    A6,
    B4,
    B6,
    address,
    ethernet,
    ipv4,
    ipv6,
    naive_checksum,
    pseudo_header,
)

ACK = 0x10
NO_TAGS: tuple[tuple[int, int], ...] = ()
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
CHECK_AT = {TCP: 16, UDP: 6}


def content(length: int, seed: int = 0) -> bytes:
    """``length`` bytes, always the same."""
    return random.Random(seed).randbytes(length)


def addresses(version: int) -> tuple[bytes, bytes]:
    return (A4, B4) if version == 4 else (A6, B6)


def tcp_segment(
    payload: bytes,
    *,
    ports: tuple[int, int] = (40000, 5201),
    seq: int = 1000,
    ack: int = 2000,
    flags: int = ACK,
    window: int = 500,
    urgent: int = 0,
    options: bytes = b"",
) -> bytes:
    """Without its checksum."""
    offset = (20 + len(options)) // 4 << 4
    fixed = (*ports, seq, ack, offset, flags, window, 0, urgent)
    return struct.pack("!HHIIBBHHH", *fixed) + options + payload


def udp_datagram(payload: bytes, ports: tuple[int, int] = (40000, 5201)) -> bytes:
    """Without its checksum."""
    return struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload


def with_word(data: bytes, position: int, word: int) -> bytes:
    return data[:position] + word.to_bytes(2, "big") + data[position + 2 :]


def with_checksum(upper: bytes, protocol: int, version: int) -> bytes:
    pseudo = pseudo_header(*addresses(version), protocol, len(upper))
    check = naive_checksum(pseudo + with_word(upper, CHECK_AT[protocol], 0))
    if protocol == UDP:
        check = check or 0xFFFF
    return with_word(upper, CHECK_AT[protocol], check)


# ---- super-frames ----


@dataclass(slots=True)
class SuperFrame:
    """A large frame, and where and between whom its parts are."""

    header: VnetHeader
    frame: bytes
    version: int
    protocol: int
    l3: int
    l4: int
    head: int
    source: bytes
    destination: bytes
    """Of the pseudo-header: with a routing header not the one in the IPv6 header."""


def _options_header(draw: st.DrawFn, next_header: int) -> bytes:
    units = draw(st.integers(0, 3))
    return bytes([next_header, units, 1, 4 + 8 * units]) + bytes(4 + 8 * units)


def _routing_header(next_header: int, final: bytes) -> bytes:
    """RFC 6554's type 3, with one segment left."""
    return bytes([next_header, 2, 3, 1]) + bytes(4) + final


def _extension_headers(draw: st.DrawFn, protocol: int) -> tuple[int, bytes, bytes]:
    """The first next header, the headers, and the final destination."""
    final, chain, following = B6, b"", protocol
    for kind in draw(st.lists(st.sampled_from((43, 60)), max_size=4)):
        if kind == 43 and final == B6:
            final = address("fd00::77")
            chain = _routing_header(following, final) + chain
            following = 43
        else:
            chain = _options_header(draw, following) + chain
            following = 60
    if draw(st.booleans()):
        chain = _options_header(draw, following) + chain
        following = 0
    return following, chain, final


tag_stacks = st.one_of(
    st.just(NO_TAGS),
    st.lists(st.tuples(st.sampled_from((0x8100, 0x88A8)), st.integers(0, 0xFFFF)), max_size=8).map(
        tuple
    ),
)
tcp_options = st.integers(0, 10).map(lambda words: content(4 * words, words))


def _upper(draw: st.DrawFn, protocol: int, payload: bytes) -> tuple[bytes, int]:
    """The segment or datagram without checksum, and the length of its header."""
    if protocol == UDP:
        return udp_datagram(payload), 8
    options = draw(tcp_options)
    upper = tcp_segment(
        payload,
        seq=draw(st.integers(0, 2**32 - 1)),
        flags=draw(st.integers(0, 255)),
        urgent=draw(st.sampled_from((0, 7))),
        options=options,
    )
    return upper, 20 + len(options)


@st.composite
def super_frames(draw: st.DrawFn, max_payload: int = 6000) -> SuperFrame:
    """TCP and UDP, both families, tags, options, extension headers, all sizes."""
    version = draw(st.sampled_from((4, 6)))
    protocol = draw(st.sampled_from((TCP, UDP)))
    gso_size = draw(st.one_of(st.integers(1, 1500), st.sampled_from((536, 1338))))
    longest = min(max_payload, 100 * gso_size)
    whole = draw(st.integers(0, longest // gso_size)) * gso_size
    size = draw(st.one_of(st.integers(0, longest), st.just(whole)))
    upper, header_length = _upper(draw, protocol, content(size, size))
    if version == 4:
        source, destination = A4, B4
        options = bytes([1]) * (4 * draw(st.sampled_from((0, 0, 1, 10))))
        packet = ipv4(
            upper,
            protocol=protocol,
            identification=draw(st.integers(0, 0xFFFF)),
            flags=draw(st.sampled_from((0, 0x4000))),
            tos=draw(st.integers(0, 255)),
            options=options,
        )
        between = 20 + len(options)
    else:
        following, chain, destination = _extension_headers(draw, protocol)
        source = A6
        packet = ipv6(chain + upper, next_header=following)
        between = 40 + len(chain)
    frame = ethernet(packet, ETHERTYPES[version], tags=draw(tag_stacks))
    l3 = len(frame) - len(packet)
    l4 = l3 + between
    pseudo = pseudo_header(source, destination, protocol, len(upper))
    # Complemented twice: the field holds the sum itself.
    frame = with_word(frame, l4 + CHECK_AT[protocol], 0xFFFF - naive_checksum(pseudo))
    if protocol == UDP:
        gso_type = UDP_L4
    else:
        gso_type = (TCPV4 if version == 4 else TCPV6) | draw(st.sampled_from((0, ECN)))
    hdr_len = draw(st.one_of(st.just(l4 + header_length), st.integers(0, 0xFFFF)))
    header = VnetHeader(NEEDS_CSUM, gso_type, hdr_len, gso_size, l4, CHECK_AT[protocol])
    head = l4 + header_length
    return SuperFrame(header, frame, version, protocol, l3, l4, head, source, destination)

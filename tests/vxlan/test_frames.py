"""Looking into frames: tags, ECN across the tunnel, the flow's source port, announcements."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import (
    A4,
    A6,
    B4,
    B6,
    BROADCAST,
    MAC_A,
    MAC_B,
    MAC_C,
    address,
    assert_drop,
    dropped,
    ethernet,
    fragment_header,
    ipv4,
    ipv6,
    mutated,
    naive_checksum,
    pseudo_header,
)
from wgvx.drops import Reason
from wgvx.vxlan import ecn, flow, neighbour
from wgvx.vxlan import ethernet as ethernet_module

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
NO_TAG: tuple[tuple[int, int], ...] = ()
ONE_TAG = ((0x8100, 0x2064),)
TWO_TAGS = ((0x88A8, 100), (0x8100, 200))
TAGS = pytest.mark.parametrize("tags", [NO_TAG, ONE_TAG, TWO_TAGS])

# ---- Ethernet ----


@TAGS
def test_payload_type(tags: tuple[tuple[int, int], ...]) -> None:
    frame = ethernet(b"x", ARP, tags=tags)
    assert ethernet_module.payload_type(frame) == (ARP, 14 + 4 * len(tags))


def test_tags_are_bounded_and_may_be_cut() -> None:
    deep = ethernet(ipv4(b""), IPV4, tags=ONE_TAG * 8)
    assert ethernet_module.ip_header(deep) == (IPV4, 4, 46)
    deeper = ethernet(ipv4(b""), IPV4, tags=ONE_TAG * 9)
    assert ethernet_module.ip_header(deeper)[:2] == (0x8100, 0)
    assert ethernet_module.payload_type(deep[:17]) == (0x8100, 14)


@pytest.mark.parametrize(
    ("packet", "ethertype"),
    [
        (ipv4(b"")[:19], IPV4),
        (ipv6(b"")[:39], IPV6),
        (b"\x44" + ipv4(b"")[1:], IPV4),  # a header length of 16
        (ipv6(b""), IPV4),
        (ipv4(bytes(40)), IPV6),
        (ipv4(b""), ARP),
        (ipv4(b""), 0x05DC),  # an 802.3 length
    ],
)
def test_not_ip(packet: bytes, ethertype: int) -> None:
    assert ethernet_module.ip_header(ethernet(packet, ethertype)) == (ethertype, 0, 14)


def test_reserved_groups() -> None:
    reserved = {
        last
        for last in range(256)
        if ethernet_module.is_reserved_group(bytes.fromhex("0180c20000") + bytes((last,)))
    }
    assert reserved == set(range(1, 16))
    assert not ethernet_module.is_reserved_group(bytes.fromhex("0180c2000102"))


# ---- ECN ----

# RFC 6040, figure 4: by inner, then by outer Not-ECT, ECT(1), ECT(0), CE. None: drop.
FIGURE_4 = {0: (0, 0, 0, None), 1: (1, 1, 1, 3), 2: (2, 1, 2, 3), 3: (3, 3, 3, 3)}


def test_encapsulate() -> None:
    assert [ecn.encapsulate(inner) for inner in range(4)] == [0, 1, 2, 2]


@TAGS
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("inner", range(4))
@pytest.mark.parametrize("outer", range(4))
def test_decapsulate(
    tags: tuple[tuple[int, int], ...], family: int, inner: int, outer: int
) -> None:
    def frame(codepoint: int) -> bytes:
        if family == 4:
            return ethernet(ipv4(b"data", tos=0x48 | codepoint), IPV4, tags=tags)
        return ethernet(ipv6(b"data", traffic_class=0x48 | codepoint), IPV6, tags=tags)

    expected = FIGURE_4[inner][outer]
    if expected is None:
        assert_drop(Reason.ECN_CE, ecn.decapsulate, outer, frame(inner))
    else:
        assert ecn.decapsulate(outer, frame(inner)) == frame(expected)
    assert flow.frame_ecn(frame(inner)) == inner


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(bytes(28), ARP),
        ethernet(ipv4(b"")[:19], IPV4),
        ethernet(ipv6(b"")[:39], IPV6),
        ethernet(b"", IPV4),
        bytes(13),
        b"",
    ],
)
@pytest.mark.parametrize("outer", range(4))
def test_what_is_not_ip_passes(frame: bytes, outer: int) -> None:
    assert ecn.decapsulate(outer, frame) == frame
    assert flow.frame_ecn(frame) == 0


# ---- the flow ----

PORTS = bytes.fromhex("d431 0050")
MACS = MAC_B + MAC_A


@TAGS
@pytest.mark.parametrize("protocol", [6, 17, 132])
def test_key_with_ports(tags: tuple[tuple[int, int], ...], protocol: int) -> None:
    packet = ipv4(PORTS + b"rest", protocol=protocol, options=bytes(8), flags=0x4000)
    expected = MACS + b"\x08\x00" + A4 + B4 + bytes((protocol,)) + PORTS
    assert flow.flow_key(ethernet(packet, IPV4, tags=tags)) == expected
    packet = ipv6(PORTS + b"rest", next_header=protocol)
    expected = MACS + b"\x86\xdd" + A6 + B6 + bytes((protocol,)) + PORTS
    assert flow.flow_key(ethernet(packet, IPV6, tags=tags)) == expected


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(PORTS + b"rest", protocol=17, flags=0x2000),  # the first fragment
        ipv4(PORTS + b"rest", protocol=17, flags=0x0003),  # the last one
        ipv4(PORTS[:3], protocol=17),
        ipv4(PORTS, protocol=17, options=bytes(20))[:38],  # cut within the options
    ],
)
def test_key_without_ports(packet: bytes) -> None:
    expected = MACS + b"\x08\x00" + A4 + B4 + b"\x11"
    assert flow.flow_key(ethernet(packet, IPV4)) == expected


def test_key_of_other_packets_and_frames() -> None:
    icmp = ethernet(ipv4(bytes(8), protocol=1), IPV4)
    assert flow.flow_key(icmp) == MACS + b"\x08\x00" + A4 + B4 + b"\x01"
    fragment = ipv6(fragment_header(17, 0, True, 1) + PORTS, next_header=44)
    assert flow.flow_key(ethernet(fragment, IPV6)) == MACS + b"\x86\xdd" + A6 + B6 + b"\x2c"
    assert flow.flow_key(ethernet(bytes(28), ARP)) == MACS + b"\x08\x06"
    assert flow.flow_key(ethernet(ipv4(b"")[:19], IPV4)) == MACS + b"\x08\x00"
    assert flow.flow_key(MACS) == MACS


def test_source_port_is_pinned() -> None:
    """Every data plane must find the same: the CRC-32 of "123456789" is 0xCBF43926 everywhere."""
    assert flow.source_port(b"123456789") == 49152 + 0xCBF43926 * 0x9E3779B1 % 2**32 // 2**18
    frame = ethernet(ipv4(PORTS, protocol=6), IPV4)
    assert flow.source_port(frame) == 49152 + crc32(flow.flow_key(frame)) * 0x9E3779B1 % 2**32 // (
        2**18
    )


def test_source_ports_spread() -> None:
    by_port = [
        ethernet(ipv4(port.to_bytes(2, "big") + b"\0\x50", protocol=6), IPV4)
        for port in range(32768, 32768 + 4096)
    ]
    by_address = [
        ethernet(ipv4(PORTS, source=bytes((10, 0, n >> 8, n & 255)), protocol=6), IPV4)
        for n in range(4096)
    ]
    # 4096 flows thrown at random into 16,384 ports hit about 3,624 of them.
    for frames in (by_port, by_address):
        assert len({flow.source_port(frame) for frame in frames}) > 3500


FRAMES = [
    ethernet(ipv4(PORTS + bytes(12), protocol=6, tos=2), IPV4, tags=ONE_TAG),
    ethernet(ipv6(PORTS + bytes(12), next_header=17, traffic_class=1), IPV6),
    ethernet(bytes(28), ARP, tags=TWO_TAGS),
]


@given(st.one_of(st.binary(max_size=90), mutated(FRAMES)), st.integers(0, 3))
def test_any_bytes(frame: bytes, outer: int) -> None:
    assert 49152 <= flow.source_port(frame) <= 65535
    assert 0 <= flow.frame_ecn(frame) <= 3

    def decapsulate() -> None:
        result = ecn.decapsulate(outer, frame)
        assert len(result) == len(frame)
        changed = [i for i, pair in enumerate(zip(frame, result, strict=True)) if len({*pair}) > 1]
        assert len(changed) <= 3

    assert dropped(decapsulate) in {None, Reason.ECN_CE}


# ---- announcements ----


def test_gratuitous_arp() -> None:
    frame = neighbour.gratuitous_arp(MAC_A, address("10.0.0.1"))
    assert frame == bytes.fromhex(
        "ffffffffffff 020000000001 0806"
        "0001 0800 06 04 0001"
        "020000000001 0a000001"
        "000000000000 0a000001"
    )


def test_unsolicited_advertisement() -> None:
    us, all_nodes = address("fd00::a"), address("ff02::1")
    frame = neighbour.unsolicited_advertisement(MAC_C, us)
    body = bytes.fromhex("20000000") + us + bytes.fromhex("0201") + MAC_C
    pseudo = pseudo_header(us, all_nodes, 58, 32)
    check = naive_checksum(pseudo + bytes.fromhex("88000000") + body)
    message = bytes.fromhex("8800") + check.to_bytes(2, "big") + body
    packet = ipv6(message, source=us, destination=all_nodes, next_header=58, hop_limit=255)
    expected = ethernet(packet, IPV6, destination=bytes.fromhex("333300000001"), source=MAC_C)
    assert frame == expected
    assert len(frame) == 86


def test_announcements_are_group_frames_of_a_valid_source() -> None:
    for frame in (
        neighbour.gratuitous_arp(MAC_A, A4),
        neighbour.unsolicited_advertisement(MAC_A, A6),
    ):
        assert ethernet_module.is_group(frame[:6])
        assert ethernet_module.is_valid_source(frame[6:12])
    assert not ethernet_module.is_valid_source(BROADCAST)
    assert not ethernet_module.is_valid_source(bytes(6))

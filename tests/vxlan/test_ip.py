"""Parsing and building tunnel packets."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import (
    A4,
    A6,
    B4,
    B6,
    assert_drop,
    dropped,
    fragment_header,
    ipv4,
    ipv6,
    mutated,
    udp,
)
from wgvx.drops import Reason
from wgvx.vxlan import icmp, ip
from wgvx.vxlan import udp as udp_module
from wgvx.vxlan.ip import Fragment, IpPacket

MALFORMED = Reason.INNER_MALFORMED
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
PADDING = bytes((1, 4, 0, 0, 0, 0))  # a PadN option that fills an extension header of 8 bytes


def extension(next_header: int, rest: bytes = PADDING) -> bytes:
    return bytes((next_header, (len(rest) - 6) // 8)) + rest


# ---- IPv4 ----


def test_ipv4() -> None:
    packet = ipv4(b"hello", tos=0x02, ttl=7, flags=0x4000)
    assert ip.parse(packet) == IpPacket(A4, B4, 7, 2, 17, b"hello", None)


def test_ipv4_padding_is_trimmed() -> None:
    assert ip.parse(ipv4(b"hello") + bytes(11)).payload == b"hello"


@pytest.mark.parametrize("words", range(1, 11))
def test_ipv4_options_are_skipped(words: int) -> None:
    packet = ip.parse(ipv4(b"hello", options=b"\x01" * 4 * words))
    assert packet.payload == b"hello"
    assert packet.destination == B4


@pytest.mark.parametrize("cut", range(1, 26))
def test_ipv4_cut_short(cut: int) -> None:
    assert_drop(MALFORMED, ip.parse, ipv4(b"hello")[:-cut])


@pytest.mark.parametrize("total_length", [0, 19, 26, 65535])
def test_ipv4_total_length_that_lies(total_length: int) -> None:
    assert_drop(MALFORMED, ip.parse, ipv4(b"hello", total_length=total_length))


def test_ipv4_header_length_that_lies() -> None:
    packet = ipv4(b"hello")
    for words in (0, 4, 7, 15):
        assert_drop(MALFORMED, ip.parse, bytes((0x40 | words,)) + packet[1:])


@pytest.mark.parametrize("position", range(20))
def test_ipv4_checksum_covers_every_byte(position: int) -> None:
    packet = bytearray(ipv4(bytes(40)))
    packet[position] ^= 0x01 if position != 0 else 0x08  # there: the header length
    reason = dropped(ip.parse, bytes(packet))
    assert reason in {Reason.BAD_CHECKSUM, MALFORMED}


def test_ipv4_checksum_covers_the_options() -> None:
    packet = bytearray(ipv4(b"hello", options=bytes(4)))
    packet[20] = 1
    assert_drop(Reason.BAD_CHECKSUM, ip.parse, bytes(packet))


@pytest.mark.parametrize("version", [0, 1, 5, 7, 15])
def test_other_versions(version: int) -> None:
    assert_drop(MALFORMED, ip.parse, bytes((version << 4 | 5,)) + ipv4(bytes(40))[1:])


def test_empty() -> None:
    assert_drop(MALFORMED, ip.parse, b"")


def test_ipv4_fragments() -> None:
    first = ip.parse(ipv4(bytes(16), identification=0xBEEF, flags=0x2000))
    assert first.fragment == Fragment(0xBEEF, 0, True)
    last = ip.parse(ipv4(bytes(3), identification=0xBEEF, flags=0x1FFF))
    assert last.fragment == Fragment(0xBEEF, 65528, False)
    assert last.payload == bytes(3)


# ---- IPv6 ----


def test_ipv6() -> None:
    packet = ipv6(b"hello", traffic_class=0x03, hop_limit=9)
    assert ip.parse(packet) == IpPacket(A6, B6, 9, 3, 17, b"hello", None)
    assert ip.parse(packet + bytes(3)).payload == b"hello"


@pytest.mark.parametrize("cut", range(1, 46))
def test_ipv6_cut_short(cut: int) -> None:
    assert_drop(MALFORMED, ip.parse, ipv6(b"hello")[:-cut])


def test_ipv6_payload_length_that_lies() -> None:
    assert_drop(MALFORMED, ip.parse, ipv6(b"hello", payload_length=6))
    assert ip.parse(ipv6(b"hello", payload_length=2)).payload == b"he"


def test_ipv6_extension_headers_are_walked() -> None:
    chain = (
        extension(DESTINATION)
        + extension(ROUTING, PADDING + bytes((1, 6)) + bytes(6))
        + extension(FRAGMENT, bytes((4, 0)) + bytes(12))  # a routing header with nothing left
        + fragment_header(DESTINATION, 0, False, 77)
        + extension(17)
        + b"hello"
    )
    packet = ip.parse(ipv6(chain, next_header=HOP_BY_HOP))
    assert (packet.protocol, packet.payload, packet.fragment) == (17, b"hello", None)


@pytest.mark.parametrize("protocol", [50, 51, 58, 59, 135, 255])
def test_ipv6_other_headers_are_upper_layers(protocol: int) -> None:
    packet = ip.parse(ipv6(extension(protocol) + b"x", next_header=DESTINATION))
    assert (packet.protocol, packet.payload) == (protocol, b"x")


def test_ipv6_hop_by_hop_comes_first_or_not_at_all() -> None:
    chain = extension(HOP_BY_HOP) + extension(17)
    assert_drop(MALFORMED, ip.parse, ipv6(chain, next_header=DESTINATION))


@pytest.mark.parametrize("segments_left", [1, 255])
def test_ipv6_routing_with_segments_left(segments_left: int) -> None:
    chain = extension(17, bytes((0, segments_left)) + bytes(20))
    assert_drop(MALFORMED, ip.parse, ipv6(chain, next_header=ROUTING))


def test_ipv6_extension_header_past_the_end() -> None:
    for chain in (b"", extension(17)[:7], bytes((17, 1)) + PADDING):
        for header in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
            if not (header == FRAGMENT and len(chain) == 8):
                assert_drop(MALFORMED, ip.parse, ipv6(chain, next_header=header))


def test_ipv6_extension_headers_are_bounded() -> None:
    assert ip.parse(ipv6(extension(60) * 7 + extension(17), next_header=60)).protocol == 17
    assert_drop(MALFORMED, ip.parse, ipv6(extension(60) * 8 + extension(17), next_header=60))


@pytest.mark.parametrize(
    "options",
    [
        bytes((0x3E, 4, 1, 2, 3, 4)),  # unknown, its type says "skip"
        bytes(6),  # Pad1 six times
        bytes((5, 2, 0, 0, 1, 0)),  # router alert, PadN without data
    ],
)
def test_ipv6_options_that_may_be_skipped(options: bytes) -> None:
    packet = ipv6(extension(17, options) + b"x", next_header=HOP_BY_HOP)
    assert ip.parse(packet).payload == b"x"


@pytest.mark.parametrize(
    "options",
    [
        bytes((0x7E, 4, 0, 0, 0, 0)),  # unknown, "discard"
        bytes((0xBE, 4, 0, 0, 0, 0)),  # unknown, "discard and tell"
        bytes((0xC2, 4, 0, 1, 0, 0)),  # jumbo payload
        bytes((1, 5, 0, 0, 0, 0)),  # past the end
        bytes((0, 0, 0, 0, 0, 1)),  # an option without its length
    ],
)
def test_ipv6_options_that_may_not(options: bytes) -> None:
    packet = ipv6(extension(17, options) + b"x", next_header=DESTINATION)
    assert_drop(MALFORMED, ip.parse, packet)


def test_ipv6_fragments() -> None:
    chain = extension(FRAGMENT) + fragment_header(17, 1232, True, 0xDEADBEEF) + b"12345678"
    packet = ip.parse(ipv6(chain, next_header=HOP_BY_HOP))
    assert packet.fragment == Fragment(0xDEADBEEF, 1232, True)
    assert (packet.protocol, packet.payload) == (17, b"12345678")


# ---- building ----


def test_build_ipv4() -> None:
    packet = ip.build(A4, B4, 17, b"hello", ecn=2, hop_limit=33, identification=0x1BEEF)
    assert packet == ipv4(b"hello", tos=2, ttl=33, identification=0xBEEF)


def test_build_ipv6() -> None:
    packet = ip.build(A6, B6, 58, b"hello", ecn=3, hop_limit=255, identification=5)
    assert packet == ipv6(b"hello", next_header=58, traffic_class=3, hop_limit=255)


@given(
    st.sampled_from([4, 16]).flatmap(lambda n: st.tuples(*[st.binary(min_size=n, max_size=n)] * 2)),
    st.sampled_from([1, 6, 17, 58]),
    st.binary(max_size=50),
    st.integers(0, 3),
    st.integers(0, 255),
    st.integers(0, 65535),
)
def test_build_then_parse(
    ends: tuple[bytes, bytes], protocol: int, payload: bytes, ecn: int, hops: int, ident: int
) -> None:
    packet = ip.build(*ends, protocol, payload, ecn=ecn, hop_limit=hops, identification=ident)
    assert ip.parse(packet) == IpPacket(*ends, hops, ecn, protocol, payload, None)
    assert ip.ecn_of(packet) == ecn


def test_build_too_big() -> None:
    assert len(ip.build(A4, B4, 17, bytes(65515))) == 65535
    assert len(ip.build(A6, B6, 17, bytes(65535))) == 65575
    assert_drop(Reason.TOO_BIG, ip.build, A4, B4, 17, bytes(65516))
    assert_drop(Reason.TOO_BIG, ip.build, A6, B6, 17, bytes(65536))


# ---- on the way ----


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 3), (2, 3), (3, 3)])
def test_mark_ce(before: int, after: int) -> None:
    # The DSCP, EF here, stays.
    assert ip.mark_ce(ipv4(b"x", tos=0xB8 | before)) == ipv4(b"x", tos=0xB8 | after)
    packet = ipv6(b"x", traffic_class=0xB8 | before)
    assert ip.mark_ce(packet) == ipv6(b"x", traffic_class=0xB8 | after)


def test_mark_ce_keeps_a_wrong_checksum_wrong() -> None:
    packet = bytearray(ipv4(b"x", tos=2))
    packet[10] ^= 0x40
    assert_drop(Reason.BAD_CHECKSUM, ip.parse, ip.mark_ce(bytes(packet)))


@given(st.integers(2, 255), st.integers(0, 65535), st.integers(0, 255), st.binary(max_size=9))
def test_decrement(ttl: int, identification: int, protocol: int, payload: bytes) -> None:
    def packet(hops: int) -> bytes:
        return ipv4(payload, ttl=hops, identification=identification, protocol=protocol)

    assert ip.decrement_hop_limit(packet(ttl)) == packet(ttl - 1)
    relayed = ip.decrement_hop_limit(ipv6(payload, hop_limit=ttl))
    assert relayed == ipv6(payload, hop_limit=ttl - 1)


def test_decrement_trims_and_keeps_options_and_fragments() -> None:
    def packet(ttl: int) -> bytes:
        options = bytes.fromhex("01010100")
        return ipv4(bytes(8), ttl=ttl, options=options, flags=0x2005, identification=9)

    assert ip.decrement_hop_limit(packet(64) + bytes(7)) == packet(63)


@pytest.mark.parametrize("hops", [0, 1])
def test_no_hop_left(hops: int) -> None:
    assert_drop(Reason.TTL, ip.decrement_hop_limit, ipv4(b"x", ttl=hops))
    assert_drop(Reason.TTL, ip.decrement_hop_limit, ipv6(b"x", hop_limit=hops))


def test_a_hub_verifies_the_checksum() -> None:
    packet = bytearray(ipv4(b"x"))
    packet[4] ^= 1
    assert_drop(Reason.BAD_CHECKSUM, ip.decrement_hop_limit, bytes(packet))


@pytest.mark.parametrize(
    "destination",
    [
        "10.254.0.1",
        "100.64.0.1",
        "169.253.1.1",
        "169.255.1.1",
        "223.255.255.255",
        "128.0.0.1",
        "240.0.0.1",
        "255.255.255.254",
        "fd00::1",
        "2001:db8::1",
        "fec0::1",
        "::2",
        "fe00::1",
    ],
)
def test_routable(destination: str) -> None:
    assert ip.routable(ip_address(destination).packed)


@pytest.mark.parametrize(
    "destination",
    [
        "0.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_not_routable(destination: str) -> None:
    assert not ip.routable(ip_address(destination).packed)


# ---- whatever comes ----

PACKETS = [
    ipv4(udp(b"hello")),
    ipv4(bytes.fromhex("0800f7ff00000000"), protocol=1, options=bytes(8)),
    ipv4(bytes(16), flags=0x2001),
    ipv6(udp(b"hello", A6, B6)),
    ipv6(extension(FRAGMENT) + fragment_header(17, 8, True, 1) + bytes(8), next_header=0),
    ipv6(extension(43) + extension(60, bytes(14)) + extension(17), next_header=0),
    ipv6(bytes(8), next_header=58),
]


@given(st.one_of(st.binary(max_size=120), mutated(PACKETS)))
def test_only_drops_are_raised(data: bytes) -> None:
    def receive() -> None:
        packet = ip.parse(data)
        assert len(packet.payload) <= len(data)
        udp_module.parse(packet)

    dropped(receive)
    dropped(lambda: icmp.echo_reply(ip.parse(data)))
    for relay in (ip.decrement_hop_limit, ip.mark_ce, ip.ecn_of):
        dropped(relay, data)


@given(mutated(PACKETS))
def test_what_a_hub_relays_is_as_good_as_what_came(data: bytes) -> None:
    if dropped(lambda: ip.decrement_hop_limit(data)) is None:
        before, after = dropped(lambda: ip.parse(data)), ip.decrement_hop_limit(data)
        assert dropped(lambda: ip.parse(after)) == before

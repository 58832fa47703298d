"""UDP inside a tunnel packet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import A4, A6, B4, B6, assert_drop, naive_checksum, pseudo_header
from tests.vxlan.packets import udp as by_hand
from wgvx.drops import Reason
from wgvx.vxlan import udp
from wgvx.vxlan.ip import IpPacket

ENDS = pytest.mark.parametrize(("source", "destination"), [(A4, B4), (A6, B6)])


def packet(source: bytes, destination: bytes, segment: bytes) -> IpPacket:
    return IpPacket(source, destination, 64, 0, 17, segment, None)


@ENDS
@given(payload=st.binary(max_size=60), ports=st.tuples(*[st.integers(0, 65535)] * 2))
def test_build_and_parse(
    source: bytes, destination: bytes, payload: bytes, ports: tuple[int, int]
) -> None:
    segment = udp.build(source, destination, *ports, payload)
    assert segment == by_hand(payload, source, destination, ports)
    assert udp.parse(packet(source, destination, segment)) == (*ports, payload)


@ENDS
def test_a_sum_of_zero_is_sent_as_all_ones(source: bytes, destination: bytes) -> None:
    pseudo = pseudo_header(source, destination, 17, 10)
    filler = naive_checksum(pseudo + bytes.fromhex("c000 12b5 000a 0000"))
    payload = filler.to_bytes(2, "big")
    segment = udp.build(source, destination, 0xC000, 4789, payload)
    assert segment[6:8] == b"\xff\xff"
    assert udp.parse(packet(source, destination, segment)) == (0xC000, 4789, payload)


def test_no_checksum() -> None:
    segment = bytearray(by_hand(b"hello"))
    segment[6:8] = bytes(2)
    assert udp.parse(packet(A4, B4, bytes(segment)))[2] == b"hello"
    assert_drop(Reason.BAD_CHECKSUM, lambda: udp.parse(packet(A6, B6, bytes(segment))))


@ENDS
@pytest.mark.parametrize("position", [0, 1, 2, 3, 6, 7, 8, 12])
def test_wrong_checksum(source: bytes, destination: bytes, position: int) -> None:
    segment = bytearray(by_hand(b"hello", source, destination))
    segment[position] ^= 0x10
    assert_drop(Reason.BAD_CHECKSUM, lambda: udp.parse(packet(source, destination, bytes(segment))))


def test_the_checksum_covers_the_addresses() -> None:
    segment = by_hand(b"hello", A4, B4)
    assert_drop(Reason.BAD_CHECKSUM, lambda: udp.parse(packet(A4, A4, segment)))


@pytest.mark.parametrize("length", [0, 7, 14, 65535])
def test_length_that_lies(length: int) -> None:
    segment = by_hand(b"hello")
    segment = segment[:4] + length.to_bytes(2, "big") + segment[6:]
    assert_drop(Reason.INNER_MALFORMED, lambda: udp.parse(packet(A4, B4, segment)))


@pytest.mark.parametrize("length", range(8))
def test_short(length: int) -> None:
    segment = by_hand(b"")[:length]
    assert_drop(Reason.INNER_MALFORMED, lambda: udp.parse(packet(A4, B4, segment)))


@ENDS
def test_trailing_bytes_are_trimmed(source: bytes, destination: bytes) -> None:
    segment = by_hand(b"hello", source, destination) + b"rest"
    assert udp.parse(packet(source, destination, segment))[2] == b"hello"


def test_too_big() -> None:
    assert len(udp.build(A4, B4, 1, 2, bytes(65527))) == 65535
    assert_drop(Reason.TOO_BIG, lambda: udp.build(A4, B4, 1, 2, bytes(65528)))

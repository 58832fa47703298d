"""The Internet checksum against RFC 1071 done word by word."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.vxlan.packets import A4, A6, B4, B6, naive_checksum, pseudo_header
from wgvx.vxlan import ip


def test_the_example_of_rfc_1071() -> None:
    data = bytes.fromhex("0001 f203 f4f5 f6f7")
    assert ip.partial_sum(data) == 0xDDF2
    assert ip.checksum(data) == 0x220D


def test_a_real_header() -> None:
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert ip.checksum(header) == 0
    assert ip.checksum(header[:10] + bytes(2) + header[12:]) == 0xB861


@given(st.binary(max_size=200))
@example(b"")
@example(b"\0\0\0")
@example(b"\xff\xff")
@example(b"\xff\xfe\x00\x01")
@example(b"\xff" * 1501)
def test_equals_the_naive_sum(data: bytes) -> None:
    assert ip.checksum(data) == naive_checksum(data)


@given(st.lists(st.binary(max_size=40).map(lambda b: b[: len(b) & ~1])), st.binary(max_size=41))
def test_parts_may_be_summed_apart(parts: list[bytes], last: bytes) -> None:
    total = sum(map(ip.partial_sum, parts)) + ip.partial_sum(last)
    assert ip.complement(total) == naive_checksum(b"".join(parts) + last)


@pytest.mark.parametrize(("source", "destination"), [(A4, B4), (A6, B6)])
@given(length=st.integers(0, 65535), protocol=st.integers(0, 255))
def test_pseudo_header(source: bytes, destination: bytes, length: int, protocol: int) -> None:
    total = ip.pseudo_sum(source, destination, protocol, length)
    expected = naive_checksum(pseudo_header(source, destination, protocol, length))
    assert ip.complement(total) == expected

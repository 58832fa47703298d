"""The VXLAN header: layout, and what Linux refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import assert_drop, dropped
from wgvx.drops import Reason
from wgvx.vxlan import header


def test_layout() -> None:
    assert header.pack(4200) == bytes.fromhex("08000000 00106800")
    assert header.pack(0xFFFFFF) == bytes.fromhex("08000000 ffffff00")
    assert len(header.pack(0)) == header.HEADER_LENGTH


@given(st.integers(0, 0xFFFFFF), st.binary(max_size=30))
def test_round_trip_whatever_follows(vni: int, frame: bytes) -> None:
    assert header.parse(header.pack(vni) + frame) == vni


@pytest.mark.parametrize("vni", [-1, 1 << 24])
def test_vni_out_of_range_is_an_error(vni: int) -> None:
    with pytest.raises(ValueError, match="16777215"):
        header.pack(vni)


@pytest.mark.parametrize("length", range(8))
def test_short(length: int) -> None:
    assert_drop(Reason.NOT_VXLAN, lambda: header.parse(header.pack(1)[:length]))


def test_clear_i_flag() -> None:
    assert_drop(Reason.NOT_VXLAN, lambda: header.parse(bytes.fromhex("00000000 00106800")))
    # Without the I flag it is not VXLAN, whatever else is set.
    assert_drop(Reason.NOT_VXLAN, lambda: header.parse(bytes.fromhex("f7ffffff 001068ff")))


@pytest.mark.parametrize("bit", range(64))
def test_every_reserved_bit(bit: int) -> None:
    word = int.from_bytes(header.pack(0), "big") | 1 << bit
    datagram = word.to_bytes(8, "big")
    if bit == 59 or 8 <= bit < 32:  # I flag, VNI
        assert header.parse(datagram) == word >> 8 & 0xFFFFFF
    else:
        assert_drop(Reason.RESERVED_BITS, lambda: header.parse(datagram))


@given(st.binary(max_size=12))
def test_random_bytes(data: bytes) -> None:
    assert dropped(lambda: header.parse(data)) in {
        None,
        Reason.NOT_VXLAN,
        Reason.RESERVED_BITS,
    }

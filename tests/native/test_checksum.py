"""native/checksum.c against its Python twin, in every vector width that this CPU has."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.parts import build_parts
from wgvx.vxlan.ip import partial_sum

ffi, lib = build_parts(
    "checksum",
    """
    uint64_t checksum_add(const uint8_t *data, size_t length);
    uint64_t checksum_copy(uint8_t *to, const uint8_t *from, size_t length);
    uint16_t checksum_fold(uint64_t sum);
    bool has_width(int width);
    uint64_t add_width(int width, const uint8_t *data, size_t length);
    uint64_t copy_width(int width, uint8_t *to, const uint8_t *from, size_t length);
    """,
    [],
    source="""
    #include "checksum.c"

    #ifndef __x86_64__
    #define has_32() false
    #define has_64() false
    #define add_32 add_16
    #define add_64 add_16
    #define copy_32 copy_16
    #define copy_64 copy_16
    #endif

    static bool has_width(int width)
    {
        return width == 16 || (width == 32 ? has_32() : has_64());
    }

    static uint64_t add_width(int width, const uint8_t *data, size_t length)
    {
        return (width == 16 ? add_16 : width == 32 ? add_32 : add_64)(data, length);
    }

    static uint64_t copy_width(int width, uint8_t *to, const uint8_t *from, size_t length)
    {
        return (width == 16 ? copy_16 : width == 32 ? copy_32 : copy_64)(to, from, length);
    }
    """,
)

CHOSEN = 0
"""Whatever checksum_add and checksum_copy choose by themselves."""


def add(width: int, data: Any, length: int) -> int:
    if width == CHOSEN:
        return int(lib.checksum_add(data, length))
    return int(lib.add_width(width, data, length))


def copy(width: int, to: Any, data: Any, length: int) -> int:
    if width == CHOSEN:
        return int(lib.checksum_copy(to, data, length))
    return int(lib.copy_width(width, to, data, length))


def folded(total: int) -> int:
    """As a number, where C has it in the byte order of memory."""
    return int.from_bytes(int(lib.checksum_fold(total)).to_bytes(2, sys.byteorder), "big")


@pytest.fixture(scope="module", params=[CHOSEN, 16, 32, 64])
def width(request: pytest.FixtureRequest) -> int:
    wide: int = request.param
    if wide != CHOSEN and not lib.has_width(wide):
        # Not a skip, which CI forbids: another machine has it.
        return CHOSEN
    return wide


def placed(data: bytes, offset: int) -> tuple[Any, Any]:
    """A buffer that ends with ``data``, and where that begins in it."""
    buffer = ffi.new("uint8_t[]", max(1, offset + len(data)))
    ffi.memmove(buffer + offset, data, len(data))
    return buffer, buffer + offset


def lengths() -> Iterator[int]:
    yield from range(300)
    yield from (1300, 1338, 1499, 9000, 65535, 65557)


def test_every_length(width: int) -> None:
    data = random.Random(1).randbytes(65557)
    source = ffi.from_buffer(data)
    target = ffi.new("uint8_t[]", len(data) + 1)
    for length in lengths():
        target[length] = 0xA5
        assert folded(add(width, source, length)) == partial_sum(data[:length])
        assert folded(copy(width, target, source, length)) == partial_sum(data[:length])
        assert ffi.buffer(target, length)[:] == data[:length]
        assert target[length] == 0xA5


@given(st.binary(max_size=400), st.integers(0, 63), st.integers(0, 63))
def test_unaligned(width: int, data: bytes, from_offset: int, to_offset: int) -> None:
    _source, begin = placed(data, from_offset)
    target, to = placed(bytes(len(data)), to_offset)
    assert folded(add(width, begin, len(data))) == partial_sum(data)
    assert folded(copy(width, to, begin, len(data))) == partial_sum(data)
    assert ffi.buffer(target)[: to_offset + len(data)] == bytes(to_offset) + data


@pytest.mark.parametrize("byte", [0, 0xFF])
def test_extremes(width: int, byte: int) -> None:
    """The most that can be carried, and the one sum that is 0."""
    for length in (0, 1, 2, 7, 8, 63, 64, 65, 1300, 70000):
        data = bytes([byte]) * length
        assert folded(add(width, ffi.from_buffer(data), length)) == partial_sum(data)


@given(st.lists(st.binary(max_size=100), max_size=6), st.binary(max_size=100))
def test_sums_of_parts_add_up(width: int, parts: list[bytes], last: bytes) -> None:
    even = [part[: len(part) // 2 * 2] for part in parts]
    total = sum(add(width, ffi.from_buffer(part), len(part)) for part in (*even, last))
    assert folded(total) == partial_sum(b"".join(even) + last)


@given(st.integers(0, 2**64 - 1))
def test_fold(total: int) -> None:
    assert lib.checksum_fold(total) == (total % 0xFFFF or (0xFFFF if total else 0))

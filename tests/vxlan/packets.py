"""Packets and frames written out by hand, with a checksum of their own: no code under test."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import strategies as st

from wgvx.drops import Drop, Reason


def address(text: str) -> bytes:
    return ip_address(text).packed


A4, B4 = address("10.254.0.1"), address("10.254.0.2")
A6, B6 = address("fd00::1"), address("fd00::2")
MAC_A, MAC_B, MAC_C = (bytes.fromhex(f"02000000000{n}") for n in (1, 2, 3))
BROADCAST = b"\xff" * 6


def naive_checksum(data: bytes) -> int:
    """RFC 1071, word by word with end-around carry."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    if len(source) == 4:
        return source + destination + struct.pack("!BBH", 0, protocol, length)
    return source + destination + struct.pack("!IHBB", length, 0, 0, protocol)


def ipv4(
    payload: bytes,
    *,
    source: bytes = A4,
    destination: bytes = B4,
    protocol: int = 17,
    tos: int = 0,
    ttl: int = 64,
    identification: int = 0,
    flags: int = 0,
    options: bytes = b"",
    total_length: int | None = None,
) -> bytes:
    """``flags`` is the whole word: DF 0x4000, MF 0x2000, offset in units of 8 bytes."""
    length = 20 + len(options)
    total = length + len(payload) if total_length is None else total_length

    def header(check: int) -> bytes:
        first = 0x40 | length // 4
        fixed = (first, tos, total, identification, flags, ttl, protocol, check)
        return struct.pack("!BBHHHBBH", *fixed) + source + destination + options

    return header(naive_checksum(header(0))) + payload


def ipv6(
    payload: bytes,
    *,
    source: bytes = A6,
    destination: bytes = B6,
    next_header: int = 17,
    traffic_class: int = 0,
    hop_limit: int = 64,
    payload_length: int | None = None,
) -> bytes:
    length = len(payload) if payload_length is None else payload_length
    word = 6 << 28 | traffic_class << 20
    return (
        struct.pack("!IHBB", word, length, next_header, hop_limit) + source + destination + payload
    )


def fragment_header(next_header: int, offset: int, more: bool, identification: int) -> bytes:
    return struct.pack("!BBHI", next_header, 0, offset | more, identification)


def udp(
    payload: bytes,
    source: bytes = A4,
    destination: bytes = B4,
    ports: tuple[int, int] = (50000, 4789),
) -> bytes:
    length = 8 + len(payload)
    head = struct.pack("!HHH", *ports, length)
    pseudo = pseudo_header(source, destination, 17, length)
    check = naive_checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF
    return head + check.to_bytes(2, "big") + payload


def ethernet(
    payload: bytes,
    ethertype: int = 0x0800,
    *,
    destination: bytes = MAC_B,
    source: bytes = MAC_A,
    tags: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """``tags``: TPID and TCI of each VLAN tag, the outermost first."""
    stack = b"".join(struct.pack("!HH", *tag) for tag in tags)
    return destination + source + stack + ethertype.to_bytes(2, "big") + payload


def assert_drop(reason: Reason, call: Callable[..., object], *args: object) -> None:
    with pytest.raises(Drop) as caught:
        call(*args)
    assert caught.value.reason is reason


def dropped(call: Callable[..., object], *args: object) -> Reason | None:
    """The reason for which ``call`` dropped; any other exception is the test's failure."""
    try:
        call(*args)
    except Drop as drop:
        return drop.reason
    return None


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of ``originals`` with some bytes changed, cut short or made longer."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(data)))
    return bytes(data[:cut]) if draw(st.booleans()) else bytes(data) + draw(st.binary(max_size=20))

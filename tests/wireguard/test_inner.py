"""The inner packet: trimmed to its own length, padded without passing the tunnel's MTU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx.drops import Drop, Reason
from wgvx.wireguard.inner import pad, parse

V4_ADDRESSES = bytes([10, 0, 0, 1, 10, 0, 0, 2])
V6_ADDRESSES = bytes(range(32))


def ipv4(total_length: int, version: int = 4) -> bytes:
    head = bytes([version << 4 | 5, 0]) + total_length.to_bytes(2, "big") + bytes(8)
    return head + V4_ADDRESSES


def ipv6(payload_length: int) -> bytes:
    return b"\x60\0\0\0" + payload_length.to_bytes(2, "big") + bytes(2) + V6_ADDRESSES


@pytest.mark.parametrize("padding", [0, 1, 12, 15, 16, 1000])
def test_any_padding_is_accepted_and_trimmed(padding: int) -> None:
    packet = ipv4(25) + b"hello"
    assert parse(packet + b"\xff" * padding) == (packet, V4_ADDRESSES[:4], V4_ADDRESSES[4:])
    packet = ipv6(5) + b"hello"
    assert parse(packet + b"\xff" * padding) == (packet, V6_ADDRESSES[:16], V6_ADDRESSES[16:])


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\x45",
        ipv4(20)[:19],
        ipv4(19) + bytes(20),
        ipv4(0) + bytes(20),
        ipv4(21),
        ipv4(65535) + bytes(100),
        ipv4(20, version=5),
        ipv4(20, version=0),
        bytes(64),
        ipv6(0)[:39],
        ipv6(1),
        ipv6(65535) + bytes(100),
    ],
    ids=lambda plaintext: f"{len(plaintext)}-{plaintext[:8].hex()}",
)
def test_a_length_that_lies_is_malformed(plaintext: bytes) -> None:
    with pytest.raises(Drop) as refused:
        parse(plaintext)
    assert refused.value.reason is Reason.INNER_MALFORMED


@given(st.one_of(st.binary(max_size=100), st.binary(max_size=60).map(lambda b: b"\x45" + b)))
def test_random_bytes_are_a_packet_within_them_or_malformed(plaintext: bytes) -> None:
    try:
        packet, source, destination = parse(plaintext)
    except Drop as drop:
        refusals = {drop.reason}
    else:
        refusals = set()
        assert plaintext.startswith(packet)
        assert len(packet) >= 20
        assert len(source) == len(destination) == (4 if packet[0] >> 4 == 4 else 16)
    assert refusals <= {Reason.INNER_MALFORMED}


@given(length=st.integers(0, 3000), mtu=st.integers(0, 3000))
def test_padding(length: int, mtu: int) -> None:
    packet = b"\xaa" * length
    padded = pad(packet, mtu)
    assert padded.startswith(packet)
    assert not padded[length:].strip(b"\0")
    wanted = (length + 15) // 16 * 16
    assert len(padded) == (wanted if wanted <= mtu else max(length, min(wanted, mtu)))


@pytest.mark.parametrize(
    ("length", "padded"), [(0, 0), (1, 16), (16, 16), (17, 32), (1409, 1420), (1420, 1420)]
)
def test_padding_at_a_tunnel_mtu_of_1420(length: int, padded: int) -> None:
    assert len(pad(bytes(length), 1420)) == padded

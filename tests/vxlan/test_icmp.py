"""Echo replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import A4, A6, B4, B6, assert_drop, naive_checksum, pseudo_header
from wgvx.drops import Reason
from wgvx.vxlan.icmp import echo_reply
from wgvx.vxlan.ip import IpPacket

FAMILIES = pytest.mark.parametrize(
    ("source", "destination", "protocol", "request_type", "reply_type"),
    [(A4, B4, 1, 8, 0), (A6, B6, 58, 128, 129)],
)


def message(source: bytes, destination: bytes, kind: int, rest: bytes, code: int = 0) -> bytes:
    data = bytes((kind, code, 0, 0)) + rest
    pseudo = b""
    if len(source) == 16:
        pseudo = pseudo_header(source, destination, 58, len(data))
    return data[:2] + naive_checksum(pseudo + data).to_bytes(2, "big") + rest


def packet(source: bytes, destination: bytes, protocol: int, payload: bytes) -> IpPacket:
    return IpPacket(source, destination, 64, 0, protocol, payload, None)


@FAMILIES
@given(rest=st.binary(min_size=4, max_size=70))
def test_reply(
    source: bytes,
    destination: bytes,
    protocol: int,
    request_type: int,
    reply_type: int,
    rest: bytes,
) -> None:
    request = message(source, destination, request_type, rest)
    reply = echo_reply(packet(source, destination, protocol, request))
    # The checksum is right for the way back, from destination to source.
    assert reply == message(destination, source, reply_type, rest)


def test_a_real_ping() -> None:
    request = bytes.fromhex("0800f7fd 00010001")
    assert echo_reply(packet(A4, B4, 1, request)) == bytes.fromhex("0000fffd 00010001")


@FAMILIES
def test_other_messages_are_not_answered(
    source: bytes, destination: bytes, protocol: int, request_type: int, reply_type: int
) -> None:
    for kind in (reply_type, 3, 1, 135):
        other = message(source, destination, kind, bytes(20))
        assert echo_reply(packet(source, destination, protocol, other)) is None
    request = message(source, destination, request_type, bytes(4))
    for other_protocol in {1, 6, 17, 58} - {protocol}:
        assert echo_reply(packet(source, destination, other_protocol, request)) is None


@FAMILIES
def test_wrong_checksum(
    source: bytes, destination: bytes, protocol: int, request_type: int, reply_type: int
) -> None:
    for kind in (request_type, reply_type):
        wrong = bytearray(message(source, destination, kind, bytes(20)))
        wrong[9] ^= 1
        request = packet(source, destination, protocol, bytes(wrong))
        assert_drop(Reason.BAD_CHECKSUM, echo_reply, request)


@pytest.mark.parametrize("length", range(8))
def test_short(length: int) -> None:
    for ends, protocol, kind in (((A4, B4), 1, 8), ((A6, B6), 58, 128)):
        request = message(*ends, kind, bytes(4))[:length]
        assert_drop(Reason.INNER_MALFORMED, echo_reply, packet(*ends, protocol, request))

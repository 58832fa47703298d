"""The layouts on the wire, field by field."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wgvx.wireguard import messages
from wgvx.wireguard.messages import CookieReply, Initiation, Response

index = st.integers(0, 2**32 - 1)


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@given(index, raw(32), raw(48), raw(28), raw(32))
def test_initiation(
    sender: int, ephemeral: bytes, static: bytes, timestamp: bytes, macs: bytes
) -> None:
    message = Initiation(sender, ephemeral, static, timestamp)
    packed = message.pack() + macs
    assert packed == (
        b"\1\0\0\0" + sender.to_bytes(4, "little") + ephemeral + static + timestamp + macs
    )
    assert len(packed) == messages.INITIATION_LENGTH == 148
    assert Initiation.parse(packed) == message
    assert messages.message_type(packed) == messages.INITIATION


@given(index, index, raw(32), raw(16), raw(32))
def test_response(sender: int, receiver: int, ephemeral: bytes, empty: bytes, macs: bytes) -> None:
    message = Response(sender, receiver, ephemeral, empty)
    packed = message.pack() + macs
    indices = sender.to_bytes(4, "little") + receiver.to_bytes(4, "little")
    assert packed == b"\2\0\0\0" + indices + ephemeral + empty + macs
    assert len(packed) == messages.RESPONSE_LENGTH == 92
    assert Response.parse(packed) == message
    assert messages.receiver_index(packed) == receiver


@given(index, raw(24), raw(32))
def test_cookie_reply(receiver: int, nonce: bytes, encrypted: bytes) -> None:
    message = CookieReply(receiver, nonce, encrypted)
    packed = message.pack()
    assert packed == b"\3\0\0\0" + receiver.to_bytes(4, "little") + nonce + encrypted
    assert len(packed) == messages.COOKIE_REPLY_LENGTH == 64
    assert CookieReply.parse(packed) == message
    assert messages.receiver_index(packed) == receiver


@given(index, st.integers(0, 2**64 - 1))
def test_transport_header(receiver: int, counter: int) -> None:
    packed = messages.TRANSPORT_HEADER.pack(messages.TRANSPORT, receiver, counter) + bytes(16)
    assert packed[:4] == b"\4\0\0\0"
    assert packed[8:16] == counter.to_bytes(8, "little")
    assert len(packed) == messages.TRANSPORT_MINIMUM == 32
    assert messages.receiver_index(packed) == receiver


@given(st.sampled_from([1, 2, 3, 4]), raw(3).filter(any))
def test_a_reserved_byte_makes_another_type(kind: int, reserved: bytes) -> None:
    assert messages.message_type(bytes([kind]) + reserved + bytes(28)) not in (1, 2, 3, 4)

"""native/cookie.c against wgvx.wireguard.cookie, whose primitives are hashlib's and PyNaCl's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.native.parts import build_parts
from wgvx.wireguard import cookie as twin
from wgvx.wireguard.crypto import mac
from wgvx.wireguard.sessions import Endpoint

ffi, lib = build_parts(
    "cookie",
    """
    struct macs *macs_new(void);
    void macs_free(struct macs *);
    void macs_mac(struct macs *, const uint8_t *key, size_t key_length, const uint8_t *input,
                  size_t length, uint8_t *out);
    bool mac1_valid(struct macs *, const uint8_t *mac1_key, const uint8_t *message, size_t length);
    void cookie_make(struct macs *, const uint8_t *secret, const uint8_t *ip, size_t ip_length,
                     uint16_t port, uint8_t *cookie);
    bool mac2_valid(struct macs *, const uint8_t *cookie, const uint8_t *message, size_t length);
    void cookie_nonce(struct macs *, const uint8_t *nonce_key, uint64_t number, uint8_t *nonce);
    void cookie_reply(struct macs *, const uint8_t *cookie_key, const uint8_t *nonce,
                      const uint8_t *cookie, const uint8_t *message, size_t length, uint8_t *out);
    """,
    ["cookie.c"],
    libraries=["crypto"],
)

SIZES = (148, 92)
"""Of messages 1 and 2."""

keys = st.binary(min_size=32, max_size=32)
cookies = st.binary(min_size=16, max_size=16)
messages = st.sampled_from(SIZES).flatmap(lambda size: st.binary(min_size=size, max_size=size))
bits = st.integers(0, 8 * min(SIZES) - 1)


@pytest.fixture(scope="module")
def macs() -> Iterator[Any]:
    made = lib.macs_new()
    assert made != ffi.NULL
    yield made
    lib.macs_free(made)


def flipped(message: bytes, bit: int) -> bytes:
    """With one bit other, counted from the end, where the macs are."""
    changed = bytearray(message)
    changed[-1 - bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.lists(st.tuples(keys | cookies, st.binary(max_size=300)), min_size=1, max_size=4))
def test_mac_under_one_key_after_the_other(macs: Any, inputs: list[tuple[bytes, bytes]]) -> None:
    out = ffi.new("uint8_t[16]")
    for key, data in inputs:
        lib.macs_mac(macs, key, len(key), data, len(data), out)
        assert ffi.buffer(out)[:] == mac(key, data)


@given(keys, messages, bits)
def test_mac1(macs: Any, public_key: bytes, message: bytes, bit: int) -> None:
    key = twin.mac1_key(public_key)
    good = message[:-32] + mac(key, message[:-32]) + message[-16:]
    assert lib.mac1_valid(macs, key, good, len(good))
    bad = flipped(good, bit)
    assert lib.mac1_valid(macs, key, bad, len(bad)) == twin.mac1_valid(key, bad)


@given(cookies, messages, bits)
def test_mac2(macs: Any, cookie: bytes, message: bytes, bit: int) -> None:
    good = message[:-16] + mac(cookie, message[:-16])
    assert lib.mac2_valid(macs, cookie, good, len(good))
    bad = flipped(good, bit)
    assert not lib.mac2_valid(macs, cookie, bad, len(bad))
    none = message[:-16] + bytes(16)
    assert not lib.mac2_valid(macs, cookie, none, len(none))


@given(
    keys,
    st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
)
def test_cookie(macs: Any, secret: bytes, ip: bytes, port: int) -> None:
    out = ffi.new("uint8_t[16]")
    lib.cookie_make(macs, secret, ip, len(ip), port, out)
    assert ffi.buffer(out)[:] == twin.make_cookie(secret, Endpoint(ip, port))


@given(keys, st.integers(0, 2**64 - 1))
def test_nonce(macs: Any, key: bytes, number: int) -> None:
    out = ffi.new("uint8_t[24]")
    lib.cookie_nonce(macs, key, number, out)
    assert ffi.buffer(out)[:] == twin.drawn_nonce(key, number)


@given(keys, st.binary(min_size=24, max_size=24), cookies, messages)
@example(b"\xff" * 32, b"\xff" * 24, bytes(16), bytes(148))
def test_reply(macs: Any, key: bytes, nonce: bytes, cookie: bytes, message: bytes) -> None:
    out = ffi.new("uint8_t[64]")
    lib.cookie_reply(macs, key, nonce, cookie, message, len(message), out)
    assert ffi.buffer(out)[:] == twin.make_reply(key, nonce, cookie, message).pack()

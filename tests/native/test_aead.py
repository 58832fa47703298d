"""native/aead*.c: every library that works here against RFC 8439 as cryptography has it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.native.parts import build_parts

CDEF = """
    struct aead_library { const char *name; ...; };
    struct aead { const struct aead_library *library; ...; };
    bool aead_start(struct aead *, const char *name);
    void aead_stop(struct aead *);
    void aead_seal(struct aead *, const uint8_t *key, uint64_t counter, uint8_t *text,
                   size_t length);
    bool aead_open(struct aead *, const uint8_t *key, uint64_t counter, uint8_t *text,
                   size_t length);
    const char *library_name(size_t position);
    unsigned long error_of_libcrypto(void);
    """
SOURCE = """
    #include <openssl/err.h>
    #include "aead_openssl.c"

    #if __has_include(<intel-ipsec-mb.h>)
    #define WGVX_HAVE_IPSEC_MB 1
    #include "aead_ipsec_mb.c"
    #endif
    #include "aead.c"

    static const char *library_name(size_t position)
    {
        return aead_libraries[position] ? aead_libraries[position]->name : NULL;
    }

    static unsigned long error_of_libcrypto(void)
    {
        return ERR_get_error();
    }
    """
NOTHING_SHOWN = """
    #include <openssl/provider.h>
    #define OSSL_PROVIDER_query_operation(provider, operation, no_store) (*(no_store) = 0, NULL)
    """
"""A provider of which aead_openssl.c knows no function: it has to go through EVP."""

LIBRARIES = ["crypto", "dl"]
ffi, lib = build_parts("aead", CDEF, [], source=SOURCE, libraries=LIBRARIES)
by_evp = build_parts("aead_evp", CDEF, [], source=NOTHING_SHOWN + SOURCE, libraries=LIBRARIES)

TAG = 16
KEYS = [bytes(32), bytes(range(32)), b"\xff" * 32]
COUNTERS = st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1])


class Aead:
    def __init__(self, name: str | None, parts: tuple[Any, Any] = (ffi, lib)) -> None:
        ffi, self._lib = parts
        self._aead = ffi.new("struct aead *")
        chosen = ffi.NULL if name is None else name.encode()
        if not self._lib.aead_start(self._aead, chosen):
            assert self._aead.library == ffi.NULL
            raise LookupError(name)
        self.name: str = ffi.string(self._aead.library.name).decode()

    def stop(self) -> None:
        self._lib.aead_stop(self._aead)

    def seal(self, key: bytes, counter: int, text: bytes, offset: int = 0) -> bytes:
        """Also sees to it that nothing around the text and its tag is written to."""
        buffer, begin = placed(text + bytes(TAG), offset)
        self._lib.aead_seal(self._aead, key, counter, begin, len(text))
        return taken(buffer, offset, len(text) + TAG)

    def open(self, key: bytes, counter: int, sealed: bytes, offset: int = 0) -> bytes | None:
        buffer, begin = placed(sealed, offset)
        opened = self._lib.aead_open(self._aead, key, counter, begin, len(sealed) - TAG)
        text = taken(buffer, offset, len(sealed))
        return text[:-TAG] if opened else None


GUARD = b"\xa5" * 16


def placed(data: bytes, offset: int) -> tuple[Any, Any]:
    buffer = ffi.new("uint8_t[]", bytes(offset) + data + GUARD)
    return buffer, buffer + offset


def taken(buffer: Any, offset: int, length: int) -> bytes:
    whole = ffi.buffer(buffer)[:]
    assert whole[:offset] == bytes(offset)
    assert whole[offset + length :].startswith(GUARD)
    return bytes(whole[offset : offset + length])


def nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


def sealed_by_twin(key: bytes, counter: int, text: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce(counter), text, None)


def built_in() -> Iterator[str]:
    position = 0
    while (name := lib.library_name(position)) != ffi.NULL:
        yield ffi.string(name).decode()
        position += 1


def works(name: str) -> bool:
    try:
        Aead(name).stop()
    except LookupError:
        return False
    return True


WORKING = [name for name in built_in() if works(name)]


@pytest.fixture(scope="module", params=[*WORKING, "openssl by EVP"])
def aead(request: pytest.FixtureRequest) -> Iterator[Aead]:
    started = Aead(request.param) if request.param in WORKING else Aead("openssl", by_evp)
    yield started
    started.stop()


def test_best_of_those_that_work() -> None:
    started = Aead(None)
    started.stop()
    assert started.name == WORKING[0]
    assert WORKING[-1] == "openssl"  # whatever else there is or is not


def test_unknown_name() -> None:
    with pytest.raises(LookupError):
        Aead("rot13")


def test_every_length(aead: Aead) -> None:
    data = random.Random(8439).randbytes(65535)
    for length in (*range(1100), *range(1376, 1441), 2047, 2048, 4099, 8192, 65519, 65535):
        text = data[:length]
        sealed = sealed_by_twin(KEYS[1], length, text)
        assert aead.seal(KEYS[1], length, text) == sealed
        assert aead.open(KEYS[1], length, sealed) == text


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(KEYS), COUNTERS, st.binary(max_size=200)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 63),
)
def test_keys_counters_and_directions_in_turn(
    aead: Aead, packets: list[tuple[bool, bytes, int, bytes]], offset: int
) -> None:
    """What is remembered of one packet serves no other."""
    for seal, key, counter, text in packets:
        sealed = sealed_by_twin(key, counter, text)
        if seal:
            assert aead.seal(key, counter, text, offset) == sealed
        else:
            assert aead.open(key, counter, sealed, offset) == text


P = 2**130 - 5
PAD = 2**128
"""What Poly1305 adds to each whole block of 16 bytes."""


def key_stream(key: bytes, counter: int, length: int) -> bytes:
    """From block 0 on, of which Poly1305 has its key."""
    cipher = Cipher(ChaCha20(key, bytes(4) + nonce(counter)), mode=None)
    return cipher.encryptor().update(bytes(length))


def accumulated(r: int, blocks: bytes) -> int:
    total = 0
    for i in range(0, len(blocks), 16):
        total = (total + int.from_bytes(blocks[i : i + 16], "little") + PAD) * r % P
    return total


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


@given(
    st.sampled_from([0, 1, 4, 5, PAD - 1, PAD, P - PAD, P - 2, P - 1]),
    st.integers(1, 40),
    st.sampled_from([b"\0", b"\xff", b"\xfb"]),
    st.binary(min_size=16, max_size=16),
    COUNTERS,
)
@settings(suppress_health_check=[HealthCheck.filter_too_much])  # three in four are
def test_edges_of_poly1305(
    aead: Aead, end: int, blocks: int, fill: bytes, free: bytes, counter: int
) -> None:
    """Ciphertexts whose sum, before the last reduction and the addition of s, is ``end``."""
    key = KEYS[1]
    stream = key_stream(key, counter, 64 + 16 * blocks + 16)
    r = int.from_bytes(stream[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    inverse = pow(r, -1, P)
    head = fill * 16 * (blocks - 1) + free
    lengths = (len(head) + 16) << 64
    before_lengths = (end * inverse - lengths - PAD) % P
    last = (before_lengths * inverse - accumulated(r, head) - PAD) % P
    assume(last < PAD)  # one in four
    ciphertext = head + last.to_bytes(16, "little")
    text = xor(ciphertext, stream[64:])
    sealed = sealed_by_twin(key, counter, text)
    assert sealed.startswith(ciphertext)
    s = int.from_bytes(stream[16:32], "little")
    assert sealed[-TAG:] == ((end + s) % PAD).to_bytes(TAG, "little")
    assert aead.seal(key, counter, text) == sealed
    assert aead.open(key, counter, sealed) == text


@given(st.binary(max_size=300), COUNTERS, st.data())
def test_forged(aead: Aead, text: bytes, counter: int, data: st.DataObject) -> None:
    sealed = bytearray(sealed_by_twin(KEYS[1], counter, text))
    assert aead.open(KEYS[1], counter ^ 1, bytes(sealed)) is None
    assert aead.open(KEYS[2], counter, bytes(sealed)) is None
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert aead.open(KEYS[1], counter, bytes(sealed)) is None
    # Nothing is left behind: neither for the next packet, nor for who else uses libcrypto.
    sealed[bit // 8] ^= 1 << bit % 8
    assert aead.open(KEYS[1], counter, bytes(sealed)) == text
    assert lib.error_of_libcrypto() == 0

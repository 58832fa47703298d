"""ChaCha20-Poly1305 alone, of the libraries that Python has: the floor under every packet.

What the native data plane's libraries do is in bench_sides.py: they are not called one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from nacl import bindings
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.rounds import note_rate

KEY, NONCE = bytes(range(32)), bytes(12)
SIZES = [64, 1408, 8192]

Aead = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
"""Seals and opens."""


def cryptography() -> Aead:
    cipher = ChaCha20Poly1305(KEY)
    return lambda text: cipher.encrypt(NONCE, text, None), lambda text: cipher.decrypt(
        NONCE, text, None
    )


def pynacl() -> Aead:
    seal = bindings.crypto_aead_chacha20poly1305_ietf_encrypt
    unseal = bindings.crypto_aead_chacha20poly1305_ietf_decrypt
    return lambda text: seal(text, None, NONCE, KEY), lambda text: unseal(text, None, NONCE, KEY)


@pytest.fixture(params=[cryptography, pynacl], ids=lambda made: str(made.__name__))
def aead(request: pytest.FixtureRequest) -> Aead:
    made: Callable[[], Aead] = request.param
    return made()


@pytest.mark.parametrize("size", SIZES)
def test_seal(benchmark: BenchmarkFixture, aead: Aead, size: int) -> None:
    seal, _ = aead
    benchmark(seal, bytes(size))
    note_rate(benchmark, size)


@pytest.mark.parametrize("size", SIZES)
def test_open(benchmark: BenchmarkFixture, aead: Aead, size: int) -> None:
    seal, unseal = aead
    benchmark(unseal, seal(bytes(size)))
    note_rate(benchmark, size)

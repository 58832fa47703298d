"""The primitives of section 5.4, under the paper's names, each from a library.

X25519 and ChaCha20-Poly1305 come from cryptography, XChaCha20-Poly1305 from PyNaCl (libsodium),
BLAKE2s from hashlib.
"""

from __future__ import annotations

import hmac
from hashlib import blake2s

import nacl.bindings
import nacl.exceptions
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgvx.drops import Drop, Reason

KEY_LENGTH = 32
ZERO_NONCE = bytes(12)

same = hmac.compare_digest
"""Constant-time comparison of two byte strings."""


def dh_public(private: bytes) -> bytes:
    """The X25519 public key of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def dh(private: bytes, public: bytes) -> bytes:
    """DH(private, public), 32 bytes.

    Raises Drop(handshake_failed) when the result is all zero: the peer's key has low order.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:
        raise Drop(Reason.HANDSHAKE_FAILED) from None


def hash_(*parts: bytes) -> bytes:
    """HASH(input), BLAKE2s of 32 bytes over the parts put together."""
    return blake2s(b"".join(parts)).digest()


def mac(key: bytes, message: bytes, length: int = 16) -> bytes:
    """MAC(key, input), keyed BLAKE2s of 16 bytes (or of ``length``)."""
    return blake2s(message, key=key, digest_size=length).digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2s")


def kdf(n: int, key: bytes, data: bytes) -> tuple[bytes, ...]:
    """KDF_n(key, input): n keys of 32 bytes (HKDF with HMAC-BLAKE2s)."""
    tau0 = _hmac(key, data)
    taus: list[bytes] = []
    previous = b""
    for i in range(1, n + 1):
        previous = _hmac(tau0, previous + bytes([i]))
        taus.append(previous)
    return tuple(taus)


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """AEAD(key, 0, plaintext, aad), as every handshake key is used once, with counter 0."""
    return ChaCha20Poly1305(key).encrypt(ZERO_NONCE, plaintext, aad)


def open_(key: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """The plaintext of :func:`seal`. Raises Drop(handshake_failed)."""
    try:
        return ChaCha20Poly1305(key).decrypt(ZERO_NONCE, ciphertext, aad)
    except InvalidTag:
        raise Drop(Reason.HANDSHAKE_FAILED) from None


def xseal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """XAEAD(key, nonce, plaintext, aad) with a 24-byte nonce."""
    return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, nonce, key)


def xopen(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """The plaintext of :func:`xseal`. Raises Drop(handshake_failed)."""
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, aad, nonce, key)
    except nacl.exceptions.CryptoError:
        raise Drop(Reason.HANDSHAKE_FAILED) from None

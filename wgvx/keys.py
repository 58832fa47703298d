"""WireGuard keys as text and bytes: what wg(8)'s genkey, pubkey and genpsk do.

Nothing here prints a key, and no error carries one.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

KEY_LENGTH = 32


def generate_private() -> bytes:
    """A new X25519 private key: 32 random bytes, clamped (RFC 7748, section 5)."""
    return clamped(secrets.token_bytes(KEY_LENGTH))


def clamped(private: bytes) -> bytes:
    """The one of the private keys that mean the same which RFC 7748, section 5, makes of it."""
    return bytes([private[0] & 248, *private[1:31], (private[31] & 127) | 64])


def generate_preshared() -> bytes:
    """A new preshared key: 32 random bytes."""
    return secrets.token_bytes(KEY_LENGTH)


def public_key(private: bytes) -> bytes:
    """The public key of `private`, both 32 bytes; ValueError for another length."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def encode(key: bytes) -> str:
    """`key` as wg(8) writes it: base64, 44 characters for 32 bytes."""
    return base64.b64encode(key).decode("ascii")


def decode(text: str) -> bytes:
    """The 32 bytes of a key in wg(8)'s form.

    As wg(8): exactly 44 characters of base64 whose unused last bits are zero. ValueError, without
    the text, for anything else.
    """
    try:
        key = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    # Encoding again finds what the decoder forgives: leftover bits, which would give one key
    # several spellings.
    if len(key) != KEY_LENGTH or encode(key) != text:
        raise ValueError("not a key: want 32 bytes as 44 characters of base64")
    return key

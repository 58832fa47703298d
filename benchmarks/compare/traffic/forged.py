"""Handshake initiations that nobody made: what an attacker can send without a key."""

from __future__ import annotations

import hashlib
import secrets

LENGTH = 148
MAC1_AT = 116


def initiation(responder: bytes, *, right: bool) -> bytes:
    """All random but for the type, and for mac1 if it is to be right: that needs the responder's
    public key alone."""
    body = b"\1\0\0\0" + secrets.token_bytes(MAC1_AT - 4)
    key = hashlib.blake2s(b"mac1----" + responder).digest()
    mac1 = hashlib.blake2s(body, key=key, digest_size=16).digest()
    return body + (mac1 if right else secrets.token_bytes(16)) + bytes(16)

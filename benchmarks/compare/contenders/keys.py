"""WireGuard keys."""

from __future__ import annotations

import base64
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


class Key(NamedTuple):
    """A pair, as bytes."""

    private: bytes
    public: bytes

    @property
    def private_text(self) -> str:
        return base64.b64encode(self.private).decode()

    @property
    def public_text(self) -> str:
        return base64.b64encode(self.public).decode()


def new_key() -> Key:
    private = X25519PrivateKey.generate()
    return Key(private.private_bytes_raw(), private.public_key().public_bytes_raw())

"""The four messages on the wire (WireGuard paper, section 5.4), packed and parsed.

All integers are little-endian. The type is one byte and three reserved zero bytes, read as one
u32, so a message with a reserved byte set has no known type.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

INITIATION: Final = 1
RESPONSE: Final = 2
COOKIE_REPLY: Final = 3
TRANSPORT: Final = 4

INITIATION_LENGTH: Final = 148
RESPONSE_LENGTH: Final = 92
COOKIE_REPLY_LENGTH: Final = 64
TRANSPORT_HEADER_LENGTH: Final = 16
TAG_LENGTH: Final = 16
TRANSPORT_MINIMUM: Final = TRANSPORT_HEADER_LENGTH + TAG_LENGTH

HANDSHAKE_LENGTHS: Final = {
    INITIATION: INITIATION_LENGTH,
    RESPONSE: RESPONSE_LENGTH,
    COOKIE_REPLY: COOKIE_REPLY_LENGTH,
}

_INITIATION = struct.Struct("<II32s48s28s")
_RESPONSE = struct.Struct("<III32s16s")
_COOKIE_REPLY = struct.Struct("<II24s32s")
TRANSPORT_HEADER: Final = struct.Struct("<IIQ")
_TYPE = struct.Struct("<I")
_RECEIVER_INDEX = struct.Struct("<4xI")
_RESPONSE_RECEIVER_INDEX = struct.Struct("<8xI")


def message_type(message: bytes) -> int:
    """The u32 type of a message of at least four bytes."""
    return int(_TYPE.unpack_from(message)[0])


def receiver_index(message: bytes) -> int:
    """The receiver index of a response, cookie reply or transport message of valid length."""
    layout = _RESPONSE_RECEIVER_INDEX if message[0] == RESPONSE else _RECEIVER_INDEX
    return int(layout.unpack_from(message)[0])


@dataclass(frozen=True, slots=True)
class Initiation:
    """Message 1 without its macs. ``ephemeral`` 32 bytes, ``static`` 48, ``timestamp`` 28."""

    sender_index: int
    ephemeral: bytes
    static: bytes
    timestamp: bytes

    def pack(self) -> bytes:
        """116 bytes, to which mac1 and mac2 are appended."""
        return _INITIATION.pack(
            INITIATION, self.sender_index, self.ephemeral, self.static, self.timestamp
        )

    @classmethod
    def parse(cls, message: bytes) -> Initiation:
        """Parse 148 bytes whose type was checked."""
        _, sender_index, ephemeral, static, timestamp = _INITIATION.unpack_from(message)
        return cls(sender_index, ephemeral, static, timestamp)


@dataclass(frozen=True, slots=True)
class Response:
    """Message 2 without its macs. ``ephemeral`` 32 bytes, ``empty`` the 16-byte tag."""

    sender_index: int
    receiver_index: int
    ephemeral: bytes
    empty: bytes

    def pack(self) -> bytes:
        """60 bytes, to which mac1 and mac2 are appended."""
        return _RESPONSE.pack(
            RESPONSE, self.sender_index, self.receiver_index, self.ephemeral, self.empty
        )

    @classmethod
    def parse(cls, message: bytes) -> Response:
        """Parse 92 bytes whose type was checked."""
        _, sender_index, receiver, ephemeral, empty = _RESPONSE.unpack_from(message)
        return cls(sender_index, receiver, ephemeral, empty)


@dataclass(frozen=True, slots=True)
class CookieReply:
    """Message 3. ``nonce`` 24 bytes, ``encrypted_cookie`` 32."""

    receiver_index: int
    nonce: bytes
    encrypted_cookie: bytes

    def pack(self) -> bytes:
        """64 bytes."""
        return _COOKIE_REPLY.pack(
            COOKIE_REPLY, self.receiver_index, self.nonce, self.encrypted_cookie
        )

    @classmethod
    def parse(cls, message: bytes) -> CookieReply:
        """Parse 64 bytes whose type was checked."""
        _, receiver, nonce, encrypted = _COOKIE_REPLY.unpack_from(message)
        return cls(receiver, nonce, encrypted)

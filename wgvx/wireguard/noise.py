"""The handshake of section 5.4: Noise_IKpsk2, message by message, with the paper's variables.

``chaining_key`` is C, ``hash`` is H, ``ephemeral_*`` E, ``static_*`` S, ``preshared_key`` Q. Pure
functions over :class:`Handshake`, which holds what one handshake has to remember between its two
messages. Private ephemeral keys come in from outside: nothing here draws randomness.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from wgvx.drops import Drop, Reason
from wgvx.wireguard.constants import CONSTRUCTION, IDENTIFIER
from wgvx.wireguard.crypto import dh, dh_public, hash_, kdf, open_, seal
from wgvx.wireguard.messages import Initiation, Response

INITIAL_CHAINING_KEY: Final = hash_(CONSTRUCTION)
INITIAL_HASH: Final = hash_(INITIAL_CHAINING_KEY, IDENTIFIER)
NO_PRESHARED_KEY: Final = bytes(32)


class TransportKeys(NamedTuple):
    """What a finished handshake yields: 32-byte keys, as seen from our side."""

    send: bytes
    receive: bytes


@dataclass(slots=True)
class Handshake:
    """C, H and the ephemerals between two messages of one handshake."""

    chaining_key: bytes = field(repr=False)
    hash: bytes
    local_index: int
    remote_index: int = 0
    ephemeral_private: bytes = field(default=b"", repr=False)
    remote_ephemeral: bytes = b""

    def mix_hash(self, data: bytes) -> None:
        """H := HASH(H || data)"""
        self.hash = hash_(self.hash, data)

    def mix_key(self, data: bytes) -> None:
        """C := KDF1(C, data)"""
        (self.chaining_key,) = kdf(1, self.chaining_key, data)

    def mix_key_for_cipher(self, data: bytes) -> bytes:
        """(C, k) := KDF2(C, data); returns k."""
        self.chaining_key, key = kdf(2, self.chaining_key, data)
        return key


def _start(responder_public: bytes, local_index: int) -> Handshake:
    handshake = Handshake(INITIAL_CHAINING_KEY, INITIAL_HASH, local_index)
    handshake.mix_hash(responder_public)
    return handshake


def create_initiation(
    *,
    static_private: bytes,
    static_public: bytes,
    remote_static: bytes,
    ephemeral_private: bytes,
    sender_index: int,
    timestamp: bytes,
) -> tuple[Handshake, Initiation]:
    """Message 1, by the initiator. ``timestamp`` is the 12-byte TAI64N label.

    Raises Drop(handshake_failed) when the remote static key has low order.
    """
    handshake = _start(remote_static, sender_index)
    ephemeral = dh_public(ephemeral_private)
    handshake.ephemeral_private = ephemeral_private
    handshake.mix_key(ephemeral)
    handshake.mix_hash(ephemeral)

    key = handshake.mix_key_for_cipher(dh(ephemeral_private, remote_static))
    static = seal(key, static_public, handshake.hash)
    handshake.mix_hash(static)

    key = handshake.mix_key_for_cipher(dh(static_private, remote_static))
    sealed_timestamp = seal(key, timestamp, handshake.hash)
    handshake.mix_hash(sealed_timestamp)
    return handshake, Initiation(sender_index, ephemeral, static, sealed_timestamp)


@dataclass(slots=True)
class ReceivedInitiation:
    """Message 1 as far as the initiator's static key: who claims to speak."""

    handshake: Handshake
    message: Initiation
    remote_static: bytes

    def open_timestamp(self, static_private: bytes) -> bytes:
        """The 12-byte TAI64N label, which proves that the sender owns ``remote_static``.

        Raises Drop(handshake_failed).
        """
        key = self.handshake.mix_key_for_cipher(dh(static_private, self.remote_static))
        timestamp = open_(key, self.message.timestamp, self.handshake.hash)
        self.handshake.mix_hash(self.message.timestamp)
        return timestamp


def consume_initiation(
    message: Initiation, *, static_private: bytes, static_public: bytes
) -> ReceivedInitiation:
    """Open message 1 up to the initiator's static key. Raises Drop(handshake_failed)."""
    handshake = _start(static_public, 0)
    handshake.remote_index = message.sender_index
    handshake.remote_ephemeral = message.ephemeral
    handshake.mix_key(message.ephemeral)
    handshake.mix_hash(message.ephemeral)

    key = handshake.mix_key_for_cipher(dh(static_private, message.ephemeral))
    remote_static = open_(key, message.static, handshake.hash)
    handshake.mix_hash(message.static)
    return ReceivedInitiation(handshake, message, remote_static)


def create_response(
    handshake: Handshake,
    *,
    remote_static: bytes,
    preshared_key: bytes,
    ephemeral_private: bytes,
    sender_index: int,
) -> tuple[Response, TransportKeys]:
    """Message 2, by the responder, and the keys that follow from it.

    Raises Drop(handshake_failed) when one of the initiator's keys has low order.
    """
    handshake.local_index = sender_index
    ephemeral = dh_public(ephemeral_private)
    handshake.mix_key(ephemeral)
    handshake.mix_hash(ephemeral)
    handshake.mix_key(dh(ephemeral_private, handshake.remote_ephemeral))
    handshake.mix_key(dh(ephemeral_private, remote_static))

    key = _mix_preshared_key(handshake, preshared_key)
    empty = seal(key, b"", handshake.hash)
    handshake.mix_hash(empty)

    receive, send = kdf(2, handshake.chaining_key, b"")
    response = Response(sender_index, handshake.remote_index, ephemeral, empty)
    return response, TransportKeys(send, receive)


def consume_response(
    handshake: Handshake, message: Response, *, static_private: bytes, preshared_key: bytes
) -> TransportKeys:
    """Open message 2 against the initiation it answers; the keys that follow from it.

    Works on a copy: a forged response leaves ``handshake`` as it was, so that the true one can
    still be consumed. Raises Drop(handshake_failed).
    """
    if message.receiver_index != handshake.local_index:
        raise Drop(Reason.UNKNOWN_INDEX)
    trial = Handshake(handshake.chaining_key, handshake.hash, handshake.local_index)
    trial.mix_key(message.ephemeral)
    trial.mix_hash(message.ephemeral)
    trial.mix_key(dh(handshake.ephemeral_private, message.ephemeral))
    trial.mix_key(dh(static_private, message.ephemeral))

    key = _mix_preshared_key(trial, preshared_key)
    open_(key, message.empty, trial.hash)

    send, receive = kdf(2, trial.chaining_key, b"")
    handshake.remote_index = message.sender_index
    return TransportKeys(send, receive)


def _mix_preshared_key(handshake: Handshake, preshared_key: bytes) -> bytes:
    """(C, tau, k) := KDF3(C, Q); H := HASH(H || tau); returns k."""
    handshake.chaining_key, tau, key = kdf(3, handshake.chaining_key, preshared_key)
    handshake.mix_hash(tau)
    return key

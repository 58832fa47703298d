"""A session's keys, and the three slots a peer keeps them in (paper, section 6.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgvx.drops import Drop, Reason
from wgvx.wireguard.constants import (
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_ON_RECEIVE_AFTER,
)
from wgvx.wireguard.messages import TRANSPORT, TRANSPORT_HEADER, TRANSPORT_HEADER_LENGTH
from wgvx.wireguard.noise import TransportKeys
from wgvx.wireguard.replay import ReplayWindow

_NONCE = struct.Struct("<4xQ")


@dataclass(slots=True, eq=False)
class Keypair:
    """One session: both keys, its indices, role, birth and counters."""

    peer: int
    local_index: int
    remote_index: int
    keys: TransportKeys = field(repr=False)
    initiator: bool
    birth: int
    send_counter: int = 0
    may_send: bool = True
    rekey_asked: bool = False
    """The handshake due at 165 s was asked for; it is asked for once."""
    replay: ReplayWindow = field(default_factory=ReplayWindow)
    _seal: ChaCha20Poly1305 = field(init=False)
    _open: ChaCha20Poly1305 = field(init=False)

    def __post_init__(self) -> None:
        self._seal = ChaCha20Poly1305(self.keys.send)
        self._open = ChaCha20Poly1305(self.keys.receive)

    def can_send(self, now: int) -> bool:
        """ "After REJECT-AFTER-MESSAGES transport data messages or after the current secure session
        is REJECT-AFTER-TIME seconds old, WireGuard will refuse to send any more" (section 6.2).
        """
        return (
            self.may_send
            and now - self.birth < REJECT_AFTER_TIME
            and self.send_counter < REJECT_AFTER_MESSAGES
        )

    def wants_rekey_on_send(self, now: int) -> bool:
        """ "After sending REKEY-AFTER-MESSAGES [...] or, if it is the initiator, after sending a
        transport data message when the session is REKEY-AFTER-TIME seconds old" (section 6.2).
        """
        return self.send_counter > REKEY_AFTER_MESSAGES or (
            self.initiator and now - self.birth >= REKEY_AFTER_TIME
        )

    def wants_rekey_on_receive(self, now: int) -> bool:
        """ "if the session is (REJECT-AFTER-TIME - KEEPALIVE-TIMEOUT - REKEY-TIMEOUT) seconds old"
        the initiator asks for a new one upon receiving, once (section 6.2).
        """
        return (
            self.may_send
            and self.initiator
            and not self.rekey_asked
            and now - self.birth >= REKEY_ON_RECEIVE_AFTER
        )

    def seal(self, plaintext: bytes) -> bytes:
        """Transport message around an (already padded) inner packet; empty is a keepalive."""
        counter = self.send_counter
        self.send_counter = counter + 1
        return TRANSPORT_HEADER.pack(TRANSPORT, self.remote_index, counter) + self._seal.encrypt(
            _NONCE.pack(counter), plaintext, None
        )

    def open(self, message: bytes, now: int) -> bytes:
        """The plaintext of a whole transport message.

        Raises Drop with key_expired, auth_failed or replayed; only a packet that authenticates
        touches the replay window.
        """
        counter = TRANSPORT_HEADER.unpack_from(message)[2]
        if now - self.birth >= REJECT_AFTER_TIME or counter >= REJECT_AFTER_MESSAGES:
            raise Drop(Reason.KEY_EXPIRED)
        try:
            plaintext = self._open.decrypt(
                _NONCE.pack(counter), message[TRANSPORT_HEADER_LENGTH:], None
            )
        except InvalidTag:
            raise Drop(Reason.AUTH_FAILED) from None
        if not self.replay.accept(counter):
            raise Drop(Reason.REPLAYED)
        return plaintext


class KeySlots:
    """``current`` is sent under; ``previous`` and ``next`` are received under as well."""

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.current: Keypair | None = None
        self.previous: Keypair | None = None
        self.next: Keypair | None = None

    def install(self, new: Keypair) -> list[Keypair]:
        """Put a new session into its slot; returns those that lost theirs.

        The initiator has heard the responder, so its session is ``current`` at once. The responder
        must not use its own before the first packet under it arrives, so it waits in ``next``.
        """
        before = list(self)
        if new.initiator:
            # An unconfirmed ``next`` outlives ``current``: the peer may be about to use it.
            self.previous = self.next or self.current
            self.next = None
            self.current = new
        else:
            self.previous = None
            self.next = new
        return [old for old in before if old not in list(self)]

    def confirm(self, keypair: Keypair) -> tuple[bool, list[Keypair]]:
        """A packet authenticated under ``keypair``: (whether it was ``next``, those dropped)."""
        if keypair is not self.next:
            return False, []
        dropped = [self.previous] if self.previous else []
        self.previous = self.current
        self.current = keypair
        self.next = None
        return True, dropped

    def clear(self) -> list[Keypair]:
        """Empty all slots; returns what was in them."""
        before = list(self)
        self.current = self.previous = self.next = None
        return before

    def __iter__(self) -> Iterator[Keypair]:
        return (k for k in (self.current, self.previous, self.next) if k is not None)

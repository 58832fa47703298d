"""Where handshake messages wait, so that a flood of them costs data nothing."""

from __future__ import annotations

from collections import deque

from wgvx.wireguard.constants import (
    HANDSHAKE_QUEUE_LENGTH,
    UNDER_LOAD_LENGTH,
    UNDER_LOAD_LINGER,
)
from wgvx.wireguard.sessions import HandshakeMessage


class HandshakeQueue:
    """4096 messages at most; "under load" from 512 waiting, and for a second after."""

    def __init__(self) -> None:
        self._waiting: deque[HandshakeMessage] = deque()
        self._loaded_until = 0

    def offer(self, message: HandshakeMessage, now: int) -> bool:
        """Queue a message; False when the queue is full."""
        if len(self._waiting) >= HANDSHAKE_QUEUE_LENGTH:
            return False
        self._waiting.append(message)
        if len(self._waiting) >= UNDER_LOAD_LENGTH:
            self._loaded_until = now + UNDER_LOAD_LINGER
        return True

    def take(self) -> HandshakeMessage | None:
        """The oldest message."""
        return self._waiting.popleft() if self._waiting else None

    @property
    def loaded_until(self) -> int:
        """Until when mac2 is demanded, as far as can be told now."""
        return self._loaded_until

    def under_load(self, now: int) -> bool:
        """Whether mac2 is demanded now."""
        if len(self._waiting) >= UNDER_LOAD_LENGTH:
            self._loaded_until = now + UNDER_LOAD_LINGER
        return now < self._loaded_until

    def __len__(self) -> int:
        return len(self._waiting)

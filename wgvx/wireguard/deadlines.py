"""What the timers remember of one peer."""

from __future__ import annotations

from enum import IntEnum


class Timer(IntEnum):
    """A peer's timers, named for what they do."""

    RETRY_HANDSHAKE = 0
    NEW_HANDSHAKE = 1
    SEND_KEEPALIVE = 2
    PERSISTENT_KEEPALIVE = 3
    ZERO_KEYS = 4


class Deadlines:
    """When each timer of one peer is due, and what the timers remember between firings."""

    def __init__(self) -> None:
        self.due: dict[Timer, int] = {}
        self.queued: dict[Timer, int] = {}
        """When the queue looks at a timer next: at its deadline, or before if that was put off."""
        self.attempts = 0
        """Retries of the handshake so far."""
        self.keepalive_sent_at: int | None = None
        """A passive keepalive that left more data unanswered: another is due if all stays quiet."""
        self.unanswered = 0
        """Initiations that went unanswered since the last completed handshake."""
        self.persistent_keepalive = 0
        """Interval in nanoseconds, 0 for off."""
        self.persistent_keepalive_since = 0
        """When it was turned on."""

"""A token bucket, by whole nanoseconds: its twin in C (native/bucket.h) gives the same answers."""

from __future__ import annotations

_SECOND = 1_000_000_000


class Bucket:
    """So many a second, and as many at once after a second's rest. It begins full."""

    __slots__ = ("_counted", "_credit")

    def __init__(self) -> None:
        self._credit = _SECOND
        """Nanoseconds that passed and were not spent, a second's at most."""
        self._counted: int | None = None

    def take(self, rate: int, count: int, now: int) -> int:
        """How many of ``count`` may pass at ``rate`` a second, 1 to 1,000,000,000; they are spent.

        A ``now`` that is earlier than the last one adds nothing.
        """
        if self._counted is None or now > self._counted:
            if self._counted is not None:
                self._credit = min(_SECOND, self._credit + now - self._counted)
            self._counted = now
        cost = _SECOND // rate
        taken = min(count, self._credit // cost)
        self._credit -= taken * cost
        return taken

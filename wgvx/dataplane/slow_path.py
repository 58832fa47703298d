"""How many packets may leave the fast path: those that only Python answers, in both data planes."""

from __future__ import annotations

from typing import Final

RATE: Final = 1000
"""Packets a second; bursts of as many."""

_SECOND: Final = 1_000_000_000
_COST: Final = _SECOND // RATE


class SlowPathLimiter:
    """A token bucket over all peers: 1,000 a second."""

    def __init__(self) -> None:
        self._tokens = _SECOND
        self._counted: int | None = None

    def allow(self, now: int) -> bool:
        """Spend a token; False when there is none."""
        if self._counted is not None:
            self._tokens = min(_SECOND, self._tokens + now - self._counted)
        self._counted = now
        if self._tokens < _COST:
            return False
        self._tokens -= _COST
        return True

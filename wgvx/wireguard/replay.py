"""The sliding window of section 5.4.6, by the algorithm of RFC 6479."""

from __future__ import annotations

from wgvx.wireguard.constants import REPLAY_WINDOW


class ReplayWindow:
    """Which of the last 8128 counters were seen.

    Call :meth:`accept` only with counters of packets that authenticated.
    """

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0
        """Bit i: counter ``_highest - i`` was seen."""

    def accept(self, counter: int) -> bool:
        """Mark a counter as seen; False when it was, or is too old to tell.

        Accepted iff ``counter >= highest - 8128`` and not seen before.
        """
        ahead = counter - self._highest
        if ahead > 0:
            if ahead > REPLAY_WINDOW:
                self._seen = 1
            else:
                self._seen = ((self._seen << ahead) | 1) & _MASK
            self._highest = counter
            return True
        if -ahead > REPLAY_WINDOW:
            return False
        bit = 1 << -ahead
        if self._seen & bit:
            return False
        self._seen |= bit
        return True


_MASK = (1 << (REPLAY_WINDOW + 1)) - 1

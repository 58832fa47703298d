"""The highest rate that is carried without loss, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

LOSSLESS = 0.01
"""A share of lost datagrams below this one is no loss."""
MARGINAL = 0.2
"""With less than this lost, it may have been the machine's doing: tried once again. So is what the
sender could not send."""
FINE = 1.04
"""The highest rate carried and the lowest one not carried are near enough."""
TRIALS = 16


class Trial(NamedTuple):
    """What came of one rate; datagrams a second."""

    wanted: float
    sent: float
    arrived: float

    @property
    def loss(self) -> float:
        return 1 - self.arrived / self.sent if self.sent else 1.0

    @property
    def lossless(self) -> bool:
        return self.sent > 0 and self.loss < LOSSLESS

    @property
    def throttled(self) -> bool:
        """The sender could not send as much: there is no higher rate to try."""
        return self.sent < 0.9 * self.wanted


def highest(trial: Callable[[float], Trial], guess: float) -> float | None:
    """What arrived at the highest rate without loss; None where every rate lost."""
    best: Trial | None = None
    carried: float | None = None
    refused: float | None = None
    rate, again = guess, True
    for _ in range(TRIALS):
        result = trial(rate)
        if result.lossless:
            if best is None or result.arrived > best.arrived:
                best = result
            if result.throttled and again:
                again = False
                continue
            if result.throttled:
                break
            carried, again = rate, True
        elif again and result.loss < MARGINAL:
            again = False
            continue
        else:
            refused, again = rate, True
        if carried is None:
            rate *= 0.7 if rate == guess else 0.5
        elif refused is None:
            # The guess is near, or far off.
            rate *= 1.3 if rate == guess else 2
        elif refused / carried < FINE:
            break
        else:
            rate = sqrt(carried * refused)
    return best.arrived if best else None

"""Stations that moved: which, from where to where, when last and how often. Twin: fdb_moves.c."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wgvx.vxlan.fdb import Local, Remote

MOVES_KEPT = 128
"""Stations of a network that are remembered: those that moved last."""
MOVE_WINDOW = 180_000_000_000
"""Nanoseconds in which moves are counted, and for which a station that moved too often is held
where it is: "an M-second timer (with a default value of M = 180)" (RFC 7432, section 15.1)."""


class Move(NamedTuple):
    """A station's last move; ``at`` in monotonic nanoseconds; ``times``: how often it moved."""

    mac: bytes
    before: Remote | Local
    after: Remote | Local
    at: int
    times: int
    held_until: int = 0
    """When a station that moved too often may move again; 0 or past: it may."""
    window: int = 0
    """When the counting of ``recent`` moves began."""
    recent: int = 0


class Moves:
    """The moves of one network."""

    def __init__(self) -> None:
        self._moves: OrderedDict[bytes, Move] = OrderedDict()
        self.total = 0

    def holds(self, mac: bytes, now: int) -> bool:
        """Whether a station is to stay where it is."""
        known = self._moves.get(mac)
        return known is not None and now < known.held_until

    def record(
        self, mac: bytes, before: Remote | Local, after: Remote | Local, limit: int, now: int
    ) -> None:
        """One more; for a station that is not remembered, whoever moved first is forgotten.

        With the ``limit``-th move within a window, 0 for none, the station is held.
        """
        self.total += 1
        known = self._moves.pop(mac, None)
        if known is None and len(self._moves) == MOVES_KEPT:
            self._moves.popitem(last=False)
        times = 1 if known is None else known.times + 1
        window, recent, held_until = now, 1, 0
        if known is not None and now < known.window + MOVE_WINDOW:
            window, recent = known.window, known.recent + 1
        if limit and recent >= limit:
            held_until = now + MOVE_WINDOW
            window, recent = held_until, 0
        self._moves[mac] = Move(mac, before, after, now, times, held_until, window, recent)

    def __iter__(self) -> Iterator[Move]:
        """Whoever moved last comes last."""
        return iter(self._moves.values())

"""Stations that moved: which, from where to where, when last and how often. Twin: fdb_moves.c."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wgvx.vxlan.fdb import Local, Remote

MOVES_KEPT = 128
"""Stations of a network that are remembered: those that moved last."""


class Move(NamedTuple):
    """A station's last move; ``at`` in monotonic nanoseconds; ``times``: how often it moved."""

    mac: bytes
    before: Remote | Local
    after: Remote | Local
    at: int
    times: int


class Moves:
    """The moves of one network."""

    def __init__(self) -> None:
        self._moves: OrderedDict[bytes, Move] = OrderedDict()

    def record(self, mac: bytes, before: Remote | Local, after: Remote | Local, now: int) -> None:
        """One more; for a station that is not remembered, whoever moved first is forgotten."""
        known = self._moves.pop(mac, None)
        if known is None and len(self._moves) == MOVES_KEPT:
            self._moves.popitem(last=False)
        times = 1 if known is None else known.times + 1
        self._moves[mac] = Move(mac, before, after, now, times)

    def __iter__(self) -> Iterator[Move]:
        """Whoever moved last comes last."""
        return iter(self._moves.values())

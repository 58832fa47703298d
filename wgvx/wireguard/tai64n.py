"""TAI64N stamps that never go back: across restarts, clock resets and copies of the state file.

Section 5.1 of the paper: "the server keeps track of the greatest timestamp received per client and
discards packets containing timestamps less than or equal to it". A sender whose clock was set back
would be mute until it caught up, so a :class:`TimestampSource` remembers a bound that no earlier
stamp exceeded. The bound is reserved ahead, so that not every handshake writes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from wgvx.wireguard.constants import SECOND

TAI64_BASE: Final = 0x400000000000000A
WHITENING: Final = 1 << 24
"""The low 24 bits of the nanoseconds are cleared, so that a stamp tells little about our clock."""

RESERVE_AHEAD: Final = 60 * SECOND

_LABEL = struct.Struct(">QI")


def label(unix_ns: int) -> bytes:
    """The 12-byte label of a time in nanoseconds since 1970, in the order of time."""
    seconds, nanoseconds = divmod(unix_ns, SECOND)
    return _LABEL.pack(TAI64_BASE + seconds, nanoseconds & ~(WHITENING - 1))


class TimestampSource:
    """Strictly rising labels.

    ``bound`` is the highest time (Unix nanoseconds) that an earlier run may have used; ``reserve``
    stores a new bound durably and is called before the first stamp beyond the old one is used.
    """

    def __init__(self, bound: int, reserve: Callable[[int], None]) -> None:
        self._last = bound
        self._bound = bound
        self._reserve = reserve

    def next(self, unix_ns: int) -> bytes:
        """The label for ``unix_ns``, or the next one after the last where that is not later."""
        stamp = unix_ns
        if label(stamp) <= label(self._last):
            stamp = self._last + WHITENING
        self._last = stamp
        if stamp > self._bound:
            self._bound = stamp + RESERVE_AHEAD
            self._reserve(self._bound)
        return label(stamp)

    @property
    def last(self) -> int:
        """The highest time used; stored at a clean end, it replaces the bound reserved ahead."""
        return self._last

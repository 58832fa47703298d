"""How large a tunnel packet the path to one peer carries: a search by probes, sans-IO.

After RFC 8899 (DPLPMTUD): a probe is a packet of the size in question that nobody may fragment, and
its echo confirms the size. Nothing is believed that does not come back from the peer itself. A size
is given up after three losses, and only if a small probe comes back: whoever answers none at all
tells nothing of the path.

Sizes are bytes of a tunnel packet (as the tunnel MTU counts), times nanoseconds.
"""

from __future__ import annotations

from enum import Enum, auto

SECOND = 1_000_000_000

BASE = 1200
"""The small probe: what the least path of IPv6, 1280 bytes, carries (RFC 8200, section 5)."""
GRANULARITY = 16
"""Sizes are told apart no finer: WireGuard pads to 16, so a packet of a confirmed size or below
stays within it, padded."""
TRIES = 3
PATIENCE = SECOND
"""How long an echo is waited for."""
CONFIRM_EVERY = 60 * SECOND
"""While data flows."""
RAISE_EVERY = 600 * SECOND
FORGET_AFTER = 1800 * SECOND
"""What was not confirmed for so long is not known any more."""
ENOUGH_BYTES = 6000
"""Sent since the last confirmation, the peer is in use. Answers to its own probes, of which it
sends one a minute, are less: so two nodes do not keep each other awake."""


class _Stage(Enum):
    REST = auto()
    CONFIRM = auto()
    """The size in force, or at first the largest."""
    SMALL = auto()
    """After that was lost: does the peer answer at all?"""
    SEARCH = auto()
    RAISE = auto()
    """The largest, while a smaller one is in force."""


class PathSearch:
    """The path to one peer. ``top`` is the largest size of interest, never exceeded.

    Whoever has it calls :meth:`wanted` for the size of a probe to send now, and tells what came of
    the last one: :meth:`answered`, or :meth:`refused` where our own link does not take the size.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self.mtu: int | None = None
        """Confirmed; None: not known."""
        self._base = min(BASE, top)
        self._stage = _Stage.REST
        self._low = self._high = 0
        """Of a search: ``low`` is carried, ``high`` is not."""
        self._size = 0
        self._tries = 0
        self._sent_at: int | None = None
        self._confirmed_at: int | None = None
        self._asked_at: int | None = None
        """When the last search began that came to an end."""
        self._raised_at = 0
        self._sent_bytes = 0
        self._hinted = False

    @property
    def is_active(self) -> bool:
        """Whether probes are under way."""
        return self._stage is not _Stage.REST

    def used(self, sent_bytes: int) -> None:
        """So many bytes more, probes not counted, went to the peer."""
        self._sent_bytes = min(self._sent_bytes + sent_bytes, ENOUGH_BYTES)

    def hint(self) -> None:
        """Something says that the path has changed: ask the peer, as soon as it is in use."""
        self._hinted = True

    def wanted(self, now: int) -> int | None:
        """The size to probe now, or None."""
        if self._confirmed_at is not None and now - self._confirmed_at >= FORGET_AFTER:
            self.mtu = self._confirmed_at = None
        if self._stage is _Stage.REST:
            self._begin(now)
        elif self._sent_at is not None and now - self._sent_at >= PATIENCE:
            self._sent_at = None
            if self._tries >= TRIES:
                self._lost(now)
        if self._stage is _Stage.REST or self._sent_at is not None:
            return None
        self._tries += 1
        self._sent_at = now
        return self._size

    def answered(self, now: int) -> None:
        """The last probe's echo came back whole."""
        if self._sent_at is None:
            return
        self._sent_at = None
        self._confirmed_at = now
        match self._stage:
            case _Stage.CONFIRM:
                self._settle(self._size, now)
                if self._size < self.top and self._raise_due(now):
                    self._raised_at = now
                    self._low, self._high = self._size, self.top + GRANULARITY
                    self._probe(_Stage.RAISE, self.top)
            case _Stage.RAISE:
                self._settle(self._size, now)
            case _Stage.SMALL:
                self._low = self._size
                self._narrow(now)
            case _Stage.SEARCH:
                self._low = self._size
                self._narrow(now)

    def refused(self, now: int) -> None:
        """Our own link does not take the last probe's size: that needs no further try."""
        if self._sent_at is not None:
            self._sent_at = None
            self._lost(now)

    def give_up(self) -> None:
        """The last probe could not be sent, whatever its size: begin anew when data flows."""
        self._stage, self._sent_at = _Stage.REST, None

    def give_up_for_long(self, now: int) -> None:
        """There is nobody who could be asked: as if nothing had come back."""
        self.give_up()
        self._asked_at = now

    # --- the search --------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        if self._sent_bytes < ENOUGH_BYTES and not (self._hinted and self._sent_bytes):
            return
        pause = CONFIRM_EVERY if self.mtu is not None else RAISE_EVERY
        recently = self._asked_at is not None and now - self._asked_at < pause
        if recently and not self._hinted:
            return
        if self._hinted:
            self._raised_at = 0
        self._hinted = False
        self._sent_bytes = 0
        self._probe(_Stage.CONFIRM, self.mtu or self.top)

    def _raise_due(self, now: int) -> bool:
        return not self._raised_at or now - self._raised_at >= RAISE_EVERY

    def _probe(self, stage: _Stage, size: int) -> None:
        self._stage, self._size, self._tries, self._sent_at = stage, size, 0, None

    def _lost(self, now: int) -> None:
        match self._stage:
            case _Stage.CONFIRM if self._size > self._base:
                self._high = self._size
                self._probe(_Stage.SMALL, self._base)
            case _Stage.RAISE | _Stage.SEARCH:
                self._high = self._size
                self._narrow(now)
            case _:
                # Nothing comes back, however small: this says nothing of sizes.
                self._stage, self._asked_at = _Stage.REST, now

    def _narrow(self, now: int) -> None:
        middle = (self._low + self._high) // 2 // GRANULARITY * GRANULARITY
        if middle <= self._low:
            middle = (self._low // GRANULARITY + 1) * GRANULARITY
        if middle >= self._high:
            self._raised_at = now
            self._settle(self._low, now)
        else:
            self._probe(_Stage.SEARCH, middle)

    def _settle(self, size: int, now: int) -> None:
        self.mtu = size
        self._stage, self._asked_at = _Stage.REST, now

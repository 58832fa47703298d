"""The forwarding database of one bridge domain: which MAC address is where.

Learned rows come from what arrives, from a VTEP or on a port; they move at once and age. Static
rows are configured and stay: a frame that contradicts one is dropped. A permanent row is a port's
own address. The all-zeros MAC and every group MAC may have several VTEPs, and a copy goes to each.
Semantics follow the Linux VXLAN driver.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import NamedTuple

from wgvx.drops import Drop, Reason
from wgvx.vxlan.ethernet import ZERO_MAC, is_group
from wgvx.vxlan.moves import Moves

FLOOD = ZERO_MAC
"""The MAC of the flood list: where frames go that no other row places."""

_SECOND = 10**9


class Remote(NamedTuple):
    """Behind the VTEP with this tunnel address (packed, 4 or 16 bytes)."""

    vtep: bytes


class Local(NamedTuple):
    """Behind this port of ours."""

    port: int


class State(StrEnum):
    """The kind of a row, as ``wgvx fdb`` prints it."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    LOCAL = "local"
    """Learned on a port, or, without an age, a port's own address."""


class Row(NamedTuple):
    """One line of ``wgvx fdb``; ``age_seconds`` since last refreshed, ``None``: does not age."""

    mac: bytes
    where: Remote | Local
    state: State
    age_seconds: int | None


class _Learned:
    __slots__ = ("refreshed", "where")

    def __init__(self, where: Remote | Local, now: int) -> None:
        self.where = where
        self.refreshed = now


class Fdb:
    """MAC to place.

    ``ageing``: nanoseconds that a learned row lives without a frame from it, 0 for ever, as in
    Linux. ``max_entries``: cap of learned rows, on ports and behind VTEPs together, 0 for none.
    ``sticky``: a learned row does not move until it has aged. ``move_limit``: moves within
    MOVE_WINDOW after which a station is held where it is, 0 for none. The settings may be changed
    at any time. ``now`` must not go back from call to call.
    """

    def __init__(self, *, learning: bool, ageing: int, max_entries: int) -> None:
        self.learning = learning
        self.ageing = ageing
        self.max_entries = max_entries
        self.sticky = False
        self.move_limit = 0
        self.moves = Moves()
        # The least recently refreshed first: so age() stops at the first that is fresh enough.
        self._learned: OrderedDict[bytes, _Learned] = OrderedDict()
        # Unicast rows that do not move: Remote ones are static, Local ones are permanent.
        self._fixed: dict[bytes, Remote | Local] = {}
        # VTEPs of group MACs, in the order they were added.
        self._groups: dict[bytes, tuple[bytes, ...]] = {FLOOD: ()}

    # ---- what every frame asks ----

    def learn(self, mac: bytes, where: Remote | Local, now: int) -> None:
        """A frame from ``mac``, a station's address, came from ``where``.

        Refreshes the row, moves and records it, or makes one if the cap allows. Raises
        ``Drop(STATIC_MOVED)`` if a static or permanent row says otherwise, ``STICKY_MOVED`` and
        ``MOVE_DAMPED`` if a learned one is to stay. Does nothing with learning off, as Linux.
        """
        if not self.learning:
            return
        fixed = self._fixed.get(mac)
        if fixed is not None:
            if fixed != where:
                raise Drop(Reason.STATIC_MOVED)
            return
        entry = self._learned.get(mac)
        if entry is not None:
            if entry.where != where:
                if not self._is_aged(entry, now):
                    if self.sticky:
                        raise Drop(Reason.STICKY_MOVED)
                    if self.move_limit and self.moves.holds(mac, now):
                        raise Drop(Reason.MOVE_DAMPED)
                    self.moves.record(mac, entry.where, where, self.move_limit, now)
                entry.where = where
            if entry.refreshed != now:
                entry.refreshed = now
                self._learned.move_to_end(mac)
            return
        if self.max_entries and len(self._learned) >= self.max_entries:
            self.age(now)
            if len(self._learned) >= self.max_entries:
                return
        self._learned[mac] = _Learned(where, now)

    def lookup(self, mac: bytes, now: int) -> Remote | Local | None:
        """Where a unicast ``mac`` is; ``None`` if unknown or aged. Does not refresh."""
        fixed = self._fixed.get(mac)
        if fixed is not None:
            return fixed
        entry = self._learned.get(mac)
        if entry is None or self._is_aged(entry, now):
            return None
        return entry.where

    def replication(self, mac: bytes) -> tuple[bytes, ...]:
        """The VTEPs that get a copy of a frame to ``mac`` that is not placed elsewhere.

        Those of a group MAC that has some, else the flood list.
        """
        return self._groups.get(mac) or self._groups[FLOOD]

    def group(self, mac: bytes) -> tuple[bytes, ...]:
        """The VTEPs of a group MAC that were added to it; none: it has no entry."""
        return self._groups.get(mac, ()) if mac != FLOOD else ()

    @property
    def flood(self) -> tuple[bytes, ...]:
        """The flood list, in the order it was added."""
        return self._groups[FLOOD]

    # ---- what is configured ----

    def add(self, mac: bytes, vtep: bytes) -> bytes | None:
        """Add a static row; returns the other VTEP that a static row had until now, if any.

        A unicast MAC has one VTEP, which this replaces; to a group MAC or the flood list it is
        appended, once. ``ValueError`` for a port's own MAC.
        """
        if mac == FLOOD or is_group(mac):
            vteps = self._groups.get(mac, ())
            if vtep not in vteps:
                self._groups[mac] = (*vteps, vtep)
            return None
        before = self._fixed.get(mac)
        if isinstance(before, Local):
            raise ValueError(f"{mac.hex(':')} is the address of a port of this node")
        self._learned.pop(mac, None)
        self._fixed[mac] = Remote(vtep)
        return before.vtep if before is not None and before.vtep != vtep else None

    def delete(self, mac: bytes, vtep: bytes | None = None) -> bool:
        """Delete the rows of ``mac``, static or learned, only that to ``vtep`` if given.

        Returns whether there was one. A port's own address stays.
        """
        if mac in self._groups:
            vteps = self._groups[mac]
            kept = tuple(held for held in vteps if vtep is not None and held != vtep)
            if kept or mac == FLOOD:
                self._groups[mac] = kept
            else:
                del self._groups[mac]
            return len(kept) < len(vteps)
        fixed = self._fixed.get(mac)
        if fixed is not None:
            if not _matches(fixed, vtep) or isinstance(fixed, Local):
                return False
            del self._fixed[mac]
            return True
        entry = self._learned.get(mac)
        if entry is None or not _matches(entry.where, vtep):
            return False
        del self._learned[mac]
        return True

    def flush(self, vtep: bytes | None = None, static: bool = False) -> int:
        """Drop the learned rows, with ``static`` the static ones too.

        Only those to ``vtep`` if one is given. The flood list and the ports' own addresses stay.
        Returns how many rows went.
        """
        before = self.entry_count
        if vtep is None:
            self._learned.clear()
        else:
            for mac in [m for m, entry in self._learned.items() if _matches(entry.where, vtep)]:
                del self._learned[mac]
        if static:
            for mac, where in list(self._fixed.items()):
                if isinstance(where, Remote) and _matches(where, vtep):
                    del self._fixed[mac]
            for mac in [group for group in self._groups if group != FLOOD]:
                self.delete(mac, vtep)
        return before - self.entry_count

    def add_permanent(self, mac: bytes, port: int) -> None:
        """The port's own address: never learned elsewhere, never aged, gone only with the port."""
        self._learned.pop(mac, None)
        self._fixed[mac] = Local(port)

    def remove_port(self, port: int) -> None:
        """Drop every row of ``port``."""
        here = Local(port)
        for mac in [m for m, where in self._fixed.items() if where == here]:
            del self._fixed[mac]
        self.forget_port(port)

    def forget_port(self, port: int) -> None:
        """Drop the learned rows of ``port``."""
        here = Local(port)
        for mac in [m for m, entry in self._learned.items() if entry.where == here]:
            del self._learned[mac]

    # ---- upkeep and looking on ----

    def age(self, now: int) -> int:
        """Remove the learned rows that were not refreshed within ``ageing``; how many."""
        removed = 0
        while self._learned:
            mac = next(iter(self._learned))
            if not self._is_aged(self._learned[mac], now):
                break
            del self._learned[mac]
            removed += 1
        return removed

    def rows(self, now: int) -> list[Row]:
        """Every row: the flood list, group and static and permanent rows, then learned ones."""
        rows = [
            Row(mac, Remote(vtep), State.STATIC, None)
            for mac, vteps in self._groups.items()
            for vtep in vteps
        ]
        for mac, where in self._fixed.items():
            state = State.STATIC if isinstance(where, Remote) else State.LOCAL
            rows.append(Row(mac, where, state, None))
        for mac, entry in self._learned.items():
            if not self._is_aged(entry, now):
                state = State.DYNAMIC if isinstance(entry.where, Remote) else State.LOCAL
                age_seconds = (now - entry.refreshed) // _SECOND
                rows.append(Row(mac, entry.where, state, age_seconds))
        return rows

    @property
    def entry_count(self) -> int:
        """Rows but for the flood list's; aged ones count until :meth:`age` removes them."""
        groups = sum(map(len, self._groups.values())) - len(self.flood)
        return len(self._learned) + len(self._fixed) + groups

    def _is_aged(self, entry: _Learned, now: int) -> bool:
        return bool(self.ageing) and now - entry.refreshed >= self.ageing


def _matches(where: Remote | Local, vtep: bytes | None) -> bool:
    return vtep is None or where == Remote(vtep)

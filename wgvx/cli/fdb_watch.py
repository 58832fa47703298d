"""``wgvx fdb --watch``: what changes in a forwarding table, line by line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wgvx.cli import output
from wgvx.cli.fdb_words import FLOOD, place
from wgvx.control.client import ControlError

Row = dict[str, Any]
"""As of `wgvx fdb --json`."""

Key = tuple[int, str, str | None]
"""A station, or one VTEP of what may have several."""

Table = Mapping[Key, Row]


@dataclass(frozen=True, slots=True)
class Change:
    """``event``: learned, moved, aged, deleted, added, and the row it is about, or was."""

    event: str
    row: Row
    before: Row | None = None
    """Where a station that moved was."""
    times: int = 1
    """How often it moved since the last look."""


def by_station(rows: Iterable[Row]) -> Table:
    """Static rows and learned ones of a MAC are kept apart, and so are VTEPs of a group."""
    return {
        (row["vni"], row["mac"], row["vtep"] if row["state"] == "static" else None): row
        for row in rows
    }


def changes(
    before: Table, after: Table, seconds: float, ageing: Callable[[], Mapping[int, int]]
) -> Iterator[Change]:
    """What happened in these seconds; ``ageing`` tells the seconds of each VNI, if it matters.

    A station that moved away and back has moved as well: rows say how often.
    """
    for key, row in after.items():
        old = before.get(key)
        if old is None:
            yield Change("added" if row["state"] == "static" else "learned", row)
        elif row["state"] != "static":
            times = row["moves"] - old["moves"]
            if _where(row) != _where(old) or times > 0:
                yield Change("moved", row, old, max(1, times))
    gone = [row for key, row in before.items() if key not in after]
    seconds_of = ageing() if gone else {}
    for row in gone:
        limit = seconds_of.get(row["vni"])
        # Ages are cut to whole seconds.
        old_enough = limit is not None and row["age"] is not None
        aged = old_enough and row["age"] + 1 + seconds >= (limit or 0) > 0
        yield Change("aged" if aged else "deleted", row)


def _where(row: Row) -> tuple[str | None, str | None]:
    return row["vtep"], row["port"]


def in_words(change: Change) -> str:
    """For people."""
    row = change.row
    mac = "flood list" if row["mac"] == FLOOD else row["mac"]
    text = f"{change.event:8}{row['vni']}  {mac}  "
    if change.before is None:
        return text + place(row)
    again = f"  ({change.times} times)" if change.times > 1 else ""
    return f"{text}{place(change.before)} -> {place(row)}{again}"


def for_programs(change: Change, wall_clock: float) -> dict[str, Any]:
    """The same as JSON; `time` in Unix seconds."""
    row = {name: change.row[name] for name in ("vni", "mac", "vtep", "port", "state")}
    told: dict[str, Any] = {"time": round(wall_clock, 3), "event": change.event, **row}
    if change.before is not None:
        told["from"] = {name: change.before[name] for name in ("vtep", "port")}
        told["times"] = change.times
    return told


class FdbView:
    """A table, asked by `rows`, and `ageing` by VNI; both may raise ControlError. The node may stop
    and start meanwhile: it then begins with an empty one."""

    def __init__(
        self,
        rows: Callable[[], list[Row]],
        ageing: Callable[[], Mapping[int, int]],
        *,
        as_json: bool,
    ) -> None:
        self._rows = rows
        self._ageing = ageing
        self._as_json = as_json
        self._table: Table | None = None
        self._at = 0.0
        self._waits = False
        self._changes: list[Change] = []

    def look(self) -> None:
        """Ask, and compare with the last time."""
        self._changes = []
        now = time.monotonic()
        try:
            table = by_station(self._rows())
            if self._table is not None:
                found = changes(self._table, table, now - self._at, self._ageing)
                self._changes = list(found)
        except ControlError as error:
            if not self._waits:
                output.warning(f"waiting: {error}")
            self._waits, self._table = True, {}
            return
        self._waits, self._table, self._at = False, table, now

    def in_a_pipe(self) -> None:
        """Print what has changed."""
        for change in self._changes:
            if self._as_json:
                print(json.dumps(for_programs(change, time.time())))
            else:
                print(f"{time.strftime('%H:%M:%S')}  {in_words(change)}")
        print(end="", flush=True)

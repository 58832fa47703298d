"""What is watched, as tables: in colour on a terminal, as aligned text in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wgvx.cli import output

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and how it looks on a terminal, as rich calls it."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table. Where not all have room, those of the greatest weight are shown."""

    cells: tuple[Cell | str, ...]
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Section:
    """A table; `right` are the columns that are read by their last digit."""

    headers: tuple[str, ...]
    rows: Sequence[Row]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Board:
    """A line about the whole, and what follows it."""

    title: Sequence[Cell]
    sections: Sequence[Section]


def fitting(rows: Sequence[Row], room: int) -> tuple[list[Row], int]:
    """As many as there is room for, in their order, and how many are left out. A line is kept for
    saying so."""
    if len(rows) <= room:
        return list(rows), 0
    heaviest = sorted(range(len(rows)), key=lambda n: rows[n].weight, reverse=True)
    shown = sorted(heaviest[: max(1, room - 1)])
    return [rows[n] for n in shown], len(rows) - len(shown)


def rooms(counts: Sequence[int], lines: int) -> list[int]:
    """How many of `lines` each of several tables gets: what small ones leave is the others'."""
    given = [0] * len(counts)
    for left, n in enumerate(sorted(range(len(counts)), key=lambda n: counts[n])):
        given[n] = max(1, min(counts[n], lines // (len(counts) - left)))
        lines = max(0, lines - given[n])
    return given


def on_screen(boards: Iterable[Board], height: int) -> Group:
    """For rich, in so many lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    boards = list(boards)
    sections = [section for board in boards for section in board.sections]
    # A title and an empty line for each board; a head and an empty line for each table.
    lines = height - 2 * len(boards) - 2 * len(sections)
    room = iter(rooms([len(section.rows) for section in sections], lines))
    parts: list[Table | Text] = []
    for board in boards:
        title = Text("  ", no_wrap=True, overflow="ellipsis")
        parts += [title.join(_text(cell) for cell in board.title), Text()]
        for section in board.sections:
            rows, left_out = fitting(section.rows, next(room))
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for column, header in enumerate(section.headers):
                table.add_column(
                    Text(header, style="bold cyan"),
                    justify="right" if column in section.right else "left",
                    no_wrap=True,
                    overflow="ellipsis",
                )
            for row in rows:
                table.add_row(*map(_text, row.cells))
            if left_out:
                table.add_row(Text(f"and {left_out} more", style="dim"))
            parts += [table, Text()]
    return Group(*parts)


def _text(cell: Cell | str) -> Text:
    from rich.text import Text

    return Text(cell.text, style=cell.style) if isinstance(cell, Cell) else Text(cell)


def in_a_pipe(boards: Iterable[Board]) -> None:
    """Print it all, each with the time of day."""
    for board in boards:
        print(time.strftime("%H:%M:%S"), *(cell.text for cell in board.title), sep="  ")
        for section in board.sections:
            rows = [[_plain(cell) for cell in row.cells] for row in section.rows]
            output.table(section.headers, rows, indent=2)
    print(flush=True)


def _plain(cell: Cell | str) -> str:
    return cell.text if isinstance(cell, Cell) else cell

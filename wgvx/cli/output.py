"""What every command says and how: pleasant on a terminal, plain in a pipe.

Results go to standard output, everything else to standard error. ASCII only, so that any locale
can show it; a colour is decoration and never carries a meaning.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn


class UserError(Exception):
    """Ends a command with `wgvx: MESSAGE` on standard error and `status`.

    Status 1: it failed while running; 2: bad usage or configuration.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def error(message: str) -> None:
    """Tell on standard error what went wrong."""
    _complain("error", message)


def warning(message: str) -> None:
    """Tell on standard error what is odd, yet no reason to stop."""
    _complain("warning", message)


def told(message: str) -> None:
    """Tell on standard error what was done, where standard output is for something else."""
    _complain("info", message)


def _for_people(level: str, message: str) -> str:
    return f"wgvx: warning: {message}" if level == "warning" else f"wgvx: {message}"


_form: Callable[[str, str], str] = _for_people


def complain_as(form: Callable[[str, str], str]) -> None:
    """Let what is told on standard error have another form, made of level and message."""
    global _form
    _form = form


def _complain(level: str, message: str) -> None:
    # One write: lines of several processes do not mix. Closed: there is nobody to tell.
    if sys.stderr is not None:
        sys.stderr.write(f"{_form(level, message)}\n")
        sys.stderr.flush()


def printable(text: str) -> str:
    """The text on one line, and without what a terminal would obey: names in it may be those of
    anybody, of a client of a proxy, say. Such characters are shown as Python writes them."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def usage(message: str) -> NoReturn:
    """End the command for being used wrongly: exit status 2."""
    raise UserError(message, 2)


def line(text: str = "") -> None:
    """One line of a result."""
    print(text)


def secret(text: str) -> None:
    """A key as the result."""
    warn_of_readers("the key goes")
    print(text)


def warn_of_readers(what: str) -> None:
    """As wg(8), warn where a secret on standard output goes to a file that everyone can read."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except OSError:  # not a file of the system
        mode = 0
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        warning(f"{what} to a file that others can read: set umask 077 and make a new one")


def heading(text: str) -> None:
    """The title of a part of the result, an empty line before it."""
    line()
    title(text)


def title(text: str) -> None:
    """The title of the whole result, or of a part where the caller sees to the empty line."""
    if on_terminal():
        from rich.console import Console
        from rich.text import Text

        Console(highlight=False).print(Text(text, style="bold"), soft_wrap=True)
    else:
        print(text)


def fields(rows: Iterable[tuple[str, object]]) -> None:
    """The rows of a block as wg(8) prints them, `label: value`, one line each however narrow the
    terminal: what is copied from it, a key above all, has no line break in it.
    """
    for label, value in rows:
        print(f"  {label}: {printable(str(value))}")


def some(items: Iterable[object], most: int) -> str:
    """A list for people: "none", or its first items and how many more there are."""
    texts = [str(item) for item in items]
    more = len(texts) - most
    if more > 1:  # For one alone its own text is hardly longer.
        texts[most:] = [f"and {more} more"]
    return ", ".join(texts) or "none"


def emit_json(value: object) -> None:
    """A result for programs."""
    print(json.dumps(value, indent=2))


def on_terminal() -> bool:
    """Whether somebody looks at standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], indent: int = 0) -> None:
    """Rows under headers, columns of numbers to the right; nothing is ever cut off.

    None is shown as "-". In a pipe: aligned by spaces, at least two between columns, no colours,
    one line a row.
    """
    cells = [["-" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    # A column that is all numbers, but for gaps, is read by its last digit.
    right = [
        bool(cells) and all(re.fullmatch(r"-|[-+]?[0-9][0-9.,]*", row[column]) for row in cells)
        for column in range(len(headers))
    ]
    if on_terminal():
        _rich_table(headers, cells, right, indent)
    else:
        _plain_table(headers, cells, right, indent)


def _plain_table(
    headers: Sequence[str], cells: list[list[str]], right: list[bool], indent: int
) -> None:
    lines = [list(headers), *cells] if any(headers) else cells
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        print(" " * indent + "  ".join(padded).rstrip())


def _rich_table(
    headers: Sequence[str], cells: list[list[str]], right: list[bool], indent: int
) -> None:
    # rich costs 60 ms to import, and knows of NO_COLOR and of dumb terminals by itself.
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    pretty = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(headers))
    for header, to_right in zip(headers, right, strict=True):
        # Text: no markup is read into a peer's name. Folding keeps what a narrow window cannot.
        pretty.add_column(
            Text(header, style="bold cyan"),
            justify="right" if to_right else "left",
            overflow="fold",
        )
    for row in cells:
        pretty.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(Padding(pretty, (0, 0, 0, indent), expand=False))

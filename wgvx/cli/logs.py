"""Where a running node's log goes: standard error, one line a record."""

from __future__ import annotations

import logging
import sys


def printable(text: str) -> str:
    """The text on one line, and without what a terminal would obey: names in it may be those of
    anybody, of a client of a proxy, say. Such characters are shown as Python writes them."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "warning: " if record.levelno == logging.WARNING else ""
        lines = [f"wgvx: {level}{printable(record.getMessage())}"]
        if record.exc_info:
            lines += map(printable, self.formatException(record.exc_info).split("\n"))
        return "\n".join(lines)


def to_stderr(*, verbose: bool) -> None:
    """Begin to log; ``verbose`` says more."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    root = logging.getLogger("wgvx")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("asyncio").addHandler(handler)

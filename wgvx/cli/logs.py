"""Where a running node's log goes: standard error, one line a record."""

from __future__ import annotations

import logging
import sys

from wgvx.cli.output import printable


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

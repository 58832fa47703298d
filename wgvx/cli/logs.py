"""Where a running node's log goes: standard error, one line a record."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Final

from wgvx.cli import output
from wgvx.cli.output import printable

TEXT: Final = "text"
JSON: Final = "json"
FORMATS: Final = (TEXT, JSON)


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "warning: " if record.levelno == logging.WARNING else ""
        lines = [f"wgvx: {level}{printable(record.getMessage())}"]
        if record.exc_info:
            lines += map(printable, self.formatException(record.exc_info).split("\n"))
        return "\n".join(lines)


class _JsonFormat(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info else None
        level = record.levelname.lower()
        return json_line(self._node, level, record.getMessage(), record.name, record.created, trace)


def json_line(
    node: str,
    level: str,
    message: str,
    module: str = "wgvx.cli",
    created: float | None = None,
    traceback: str | None = None,
) -> str:
    """A record as an object on one line, in ASCII; ``created`` is in Unix seconds, now if None."""
    now = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    told = {
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "node": node,
        "module": module,
        "message": message,
    }
    if traceback is not None:
        told["traceback"] = traceback
    return json.dumps(told)


def to_stderr(style: str, *, node: str, verbose: bool) -> None:
    """Begin to log in one of FORMATS, and what commands complain of with it; ``verbose`` says
    more."""
    handler = logging.StreamHandler(sys.stderr)
    if style == JSON:
        handler.setFormatter(_JsonFormat(node))
        output.complain_as(partial(json_line, node))
    else:
        handler.setFormatter(_Format())
    root = logging.getLogger("wgvx")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("asyncio").addHandler(handler)

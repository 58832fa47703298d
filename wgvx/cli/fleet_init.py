"""`wgvx fleet init`: a plan to begin with."""

from __future__ import annotations

import argparse
from pathlib import Path

from wgvx.cli import output
from wgvx.fleet.template import filled


def run(args: argparse.Namespace) -> int:
    """Write it, unless there is one."""
    path: Path = args.plan
    try:
        file = path.open("x")
    except FileExistsError:
        output.usage(f"{path}: there is such a file, want a new name")
    try:
        with file:
            file.write(filled("plan.toml"))
    except OSError:
        path.unlink()  # It would be in the way of another try.
        raise
    output.line(f"{path}: written; change it, then: wgvx fleet check {path}")
    return 0

"""Modules of this package run as programs of their own."""

from __future__ import annotations

import sys
from pathlib import Path


def command(module: str, *arguments: str) -> list[str]:
    """The argument vector that runs `main()` of `module` in a fresh interpreter.

    It finds the very wgvx that runs now, and nothing in the current directory, which may be
    anybody's (-P), and needs no change of the environment, which may go on to another program.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from {module} import main; sys.exit(main())"
    return [sys.executable, "-P", "-c", code, *arguments]

"""An ordinary user, also where the tests run as root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.account import UID

ROOT = Path(__file__).resolve().parents[2]


class User:
    """Runs Python code with no privilege over anything."""

    @property
    def uid(self) -> int:
        return UID if os.geteuid() == 0 else os.geteuid()

    @cached_property
    def prefix(self) -> list[str]:
        """The words before a command that make it an ordinary user's."""
        if os.geteuid() != 0:
            return []
        plain = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        # Started twice: setpriv(1) has its power until it becomes Python, which starts others.
        again = "import os, sys; os.execv(sys.executable, ['python', '-c', 'import wgvx.probe'])"
        readable = subprocess.run(
            [*plain, sys.executable, "-c", again],
            check=False,
            capture_output=True,
            cwd="/",
            env=self.env,
        )
        if readable.returncode == 0:
            return plain
        # The interpreter or the project lies under root's home: let this user read, no more.
        reading = "-all,+dac_read_search"
        return [*plain, f"--inh-caps={reading}", f"--ambient-caps={reading}"]

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "error",
            "HOME": "/nonexistent",
            "LC_ALL": "C",
        }

    def command(self, code: str, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-c", code, *arguments]

    def python(
        self, code: str, *arguments: str, around: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run code to its end, inside the command `around`."""
        return subprocess.run(
            [*around, *self.command(code, *arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=self.env,
            timeout=40,
        )

    def facts(self, code: str, *arguments: str, around: Sequence[str] = ()) -> dict[str, Any]:
        """Run code that prints one JSON object last, and nothing on standard error."""
        done = self.python(code, *arguments, around=around)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

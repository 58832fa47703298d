"""Programs that stay: started, watched, accounted for and ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

GRACE = 20.0
"""Seconds beyond its own time after which a command is given up."""


def run(*command: str, stdin: str | None = None, timeout: float = GRACE) -> str:
    """Run a command to its end; what it printed. RuntimeError where it failed."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}".rstrip())
    return done.stdout


class Process:
    """A program in the background; its output is in a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.command = command
        self.log = log
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        self.pid = self._popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def check(self) -> None:
        """Raise if it has ended."""
        if self.ended:
            raise RuntimeError(f"{' '.join(self.command)} ended:\n{self.output}")

    def wait(self, timeout: float) -> bool:
        """Whether it ended by itself in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout)
        return self.ended

    def end(self) -> None:
        """Ask, wait, kill."""
        if not self.ended:
            self._popen.terminate()
            if not self.wait(5):
                self._popen.kill()
        self._popen.wait(5)

    def family(self) -> list[int]:
        """Its process id and those of all that descend from it."""
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    found.extend(int(child) for child in children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        ticks = 0
        for pid in self.family():
            with contextlib.suppress(OSError):
                # proc_pid_stat(5): behind the name, utime and stime are fields 12 and 13.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Memory it and its helpers hold now: what processes share counts once (PSS)."""
        total = 0
        for pid in self.family():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total * 1024


def wait_for(
    probe: Callable[[], bool], what: str, *processes: Process, timeout: float = GRACE
) -> None:
    """Ask until it is so, for a bounded time, while the processes live."""
    deadline = time.monotonic() + timeout
    while not probe():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            logs = "".join(f"\n{process.output}" for process in processes)
            raise RuntimeError(f"{what}: not after {timeout:g} s{logs}")
        time.sleep(0.02)

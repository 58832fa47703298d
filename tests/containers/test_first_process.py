"""wgvx as the first process of a container: the kernel would keep signals from it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WGVX


@pytest.mark.netns
def test_it_ends_at_once_while_it_starts(lab: Lab) -> None:
    """Its file, which it waits for, is a pipe."""
    host = lab.host("a")
    pipe = host.folder / "a.toml"
    os.mkfifo(pipe)
    start = ("unshare", "--pid", "--fork", "--kill-child", WGVX, "up", str(pipe))
    process = host.start(*start, log="first")

    def reader() -> int | None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None  # ENXIO: it is not there yet

    writer = eventually(reader, "it reads its file")
    assert writer is not None
    try:
        (first,) = (pid for pid in process.family() if _number_inside(pid) == 1)
        os.kill(first, signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM, process
    finally:
        os.close(writer)
    assert "Traceback" not in process.stderr


def _number_inside(pid: int) -> int:
    """The process's number in the innermost of its namespaces."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])

"""Modules of this package run as programs of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(module: str, *arguments: str) -> list[str]:
    """The argument vector that runs `main()` of `module` in a fresh interpreter.

    It finds the very wgvx that runs now, and nothing in the current directory, which may be
    anybody's (-P), and needs no change of the environment, which may go on to another program.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from {module} import main; sys.exit(main())"
    return [sys.executable, "-P", "-c", code, *arguments]


class Child(subprocess.Popen[bytes]):
    """A process that is signalled through a descriptor, ``pidfd``, which can be read once it has
    ended: its number may be somebody else's by then, and a confined node can send to none."""

    def __init__(self, command: list[str], **popen: Any) -> None:
        self.pidfd = -1
        super().__init__(command, **popen)
        with contextlib.suppress(OSError):  # before Linux 5.3, or none at all
            self.pidfd = os.pidfd_open(self.pid)

    def end(self, seconds: float) -> None:
        """Wait for its end, which was asked for; kill it where that takes longer."""
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()

    def send_signal(self, sig: int) -> None:
        """Nothing to one that has ended."""
        if self.pidfd < 0:
            super().send_signal(sig)
        elif self.poll() is None:
            signal.pidfd_send_signal(self.pidfd, sig)

    def wait(self, timeout: float | None = None) -> int:
        """This lets go of the descriptor."""
        status = super().wait(timeout)
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        return status


def start_on_socket(module: str) -> tuple[socket.socket, Child]:
    """A process that runs `main()` of `module` and has the other end of a socket pair, of packets,
    as its first argument. It ends when ours is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # A session of its own: a terminal's ^C is for the node, which then closes its end.
        process = Child(
            command(module, str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    return ours, process

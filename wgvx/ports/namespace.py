"""Runs a command inside a node's rootless namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wgvx.ports import child


def enter(
    user_fd: int, net_fd: int, command: Sequence[str], *, wait_fd: int = -1, **popen: Any
) -> child.Child:
    """Start `command` as uid 0 of the user namespace, in the network namespace; with -1 for both,
    as it is.

    The process is `command` itself, so signals reach it. It exits 126 or 127 where the command
    cannot be started, as in a shell, and 125 where the namespaces cannot be entered. With
    `wait_fd` it begins once a byte can be read there; where there will be none, it ends. `popen`
    goes to :class:`child.Child`.
    """
    fds = [user_fd, net_fd, wait_fd]
    return child.Child(
        child.command("wgvx.ports.enter", *map(str, fds), "--", *command),
        pass_fds=[*(fd for fd in fds if fd >= 0), *popen.pop("pass_fds", ())],
        **popen,
    )


def exit_status(returncode: int) -> int:
    """A shell's exit status of a process: its own, or 128 + the signal that ended it."""
    return 128 - returncode if returncode < 0 else returncode

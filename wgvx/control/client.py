"""The commands' end of the control socket."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from wgvx.control.paths import find_running, running, unseen

PATIENCE = 10.0
"""Seconds that a node has for an answer, unless the command is one that takes longer."""


class ControlError(Exception):
    """A node that does not run, does not answer, or refuses; with the exit status it deserves."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class NodeEnded(ControlError):  # noqa: N818 - says what is the case
    """A node that ended while it was asked."""


def find(name: str) -> Path:
    """The lock of a running node. Raises ControlError."""
    lock = find_running(name)
    if lock is None:
        others = ", ".join(sorted({other for other, _ in running()}))
        seen = f"; running: {others}" if others else ""
        raise ControlError(f"no node {name} is running{unseen()}{seen}")
    return lock


def ask(lock: Path, command: str, *, patience: float = PATIENCE, **arguments: Any) -> Any:
    """The result of one command. Raises ControlError."""
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(str(lock.with_suffix(".sock")))
            connection.sendall(request)
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ControlError(f"node {lock.stem} does not answer: {reason}") from None
    if not line.endswith(b"\n"):
        raise NodeEnded(f"node {lock.stem} ended before it answered")
    answer = json.loads(line)
    if "error" in answer:
        raise ControlError(answer["error"], answer["status"])
    return answer["result"]


def open_namespaces(lock: Path, netns: str | None) -> tuple[int, int]:
    """Descriptors of a rootless node's user and network namespace; the caller closes them.

    Raises ControlError, with exit status 2 where the node has none such.
    """
    paths = ask(lock, "namespace", netns=netns)
    try:
        user = os.open(paths["user"], os.O_RDONLY | os.O_CLOEXEC)
        try:
            return user, os.open(paths["net"], os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(user)
            raise
    except OSError as error:
        raise ControlError(f"cannot enter the namespace: {error.strerror}") from None

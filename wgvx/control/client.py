"""The commands' end of the control socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
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


class Stream:
    """What a node writes until it is enough: bytes, as they come."""

    def __init__(self, connection: socket.socket, begun: bytes) -> None:
        self._connection = connection
        self._begun = begun

    def read(self) -> bytes:
        """The next ones; none when it has ended."""
        begun, self._begun = self._begun, b""
        try:
            return begun or self._connection.recv(1 << 20)
        except ConnectionError:
            return b""

    def enough(self) -> None:
        """Let it end; what has been written still comes."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def stream(lock: Path, command: str, **arguments: Any) -> Iterator[Stream]:
    """What a command writes. Raises ControlError where the node refuses."""
    with socket.socket(socket.AF_UNIX) as connection:
        line, begun = _ask(connection, lock, command, PATIENCE, arguments)
        _result(lock, line)
        connection.settimeout(None)
        yield Stream(connection, begun)


def ask(lock: Path, command: str, *, patience: float = PATIENCE, **arguments: Any) -> Any:
    """The result of one command. Raises ControlError."""
    with socket.socket(socket.AF_UNIX) as connection:
        line, _ = _ask(connection, lock, command, patience, arguments)
    return _result(lock, line)


def _ask(
    connection: socket.socket,
    lock: Path,
    command: str,
    patience: float,
    arguments: dict[str, Any],
) -> tuple[bytes, bytes]:
    """The answer's line, and what came behind it already."""
    request = json.dumps({"command": command, **arguments}).encode() + b"\n"
    connection.settimeout(patience)
    answer = bytearray()
    try:
        connection.connect(str(lock.with_suffix(".sock")))
        connection.sendall(request)
        while b"\n" not in answer and (more := connection.recv(1 << 20)):
            answer += more
    except OSError as error:
        reason = error.strerror or str(error)
        raise ControlError(f"node {lock.stem} does not answer: {reason}") from None
    line, newline, rest = bytes(answer).partition(b"\n")
    return line + newline, rest


def _result(lock: Path, line: bytes) -> Any:
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

"""Where running nodes are found: a lock and a socket per node, in one of three folders.

The lock says that a node runs; a socket alone may be left over from one that was killed.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

PRIVATE = 0o700

SYSTEM_FOLDER = Path("/run/wgvx")

ASKING_SECONDS = 0.2
"""Far longer than it takes to ask whether a node runs."""


class AlreadyRunning(Exception):  # noqa: N818 - says what is the case
    """A node of that name runs already."""


class NoFolder(Exception):  # noqa: N818 - says what is missing
    """None of the folders can be written."""


def folders() -> list[Path]:
    """Where this user's nodes may be, in order of preference."""
    found = [SYSTEM_FOLDER]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):  # The XDG base directory specification: else it is to be ignored.
        found.append(Path(runtime) / "wgvx")
    found.append(Path(f"/tmp/wgvx-{os.geteuid()}"))
    return found


def unseen() -> str:
    """What is to be added to "no node is running" where root may have nodes that this user cannot
    see; empty where all are seen.
    """
    try:
        status = SYSTEM_FOLDER.stat()
    except OSError:
        return ""
    if status.st_uid != 0 or os.access(SYSTEM_FOLDER, os.R_OK | os.X_OK):
        return ""
    return f" (of yours; {SYSTEM_FOLDER} belongs to root: try sudo)"


def _is_ours(folder: Path) -> bool:
    """Whether nobody else could have put a socket there for us to trust."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _writable_folder() -> Path:
    for folder in folders():
        try:
            folder.mkdir(mode=PRIVATE, exist_ok=True)
        except OSError:
            continue
        if _is_ours(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    names = ", ".join(map(str, folders()))
    raise NoFolder(f"none of {names} can be written: set XDG_RUNTIME_DIR to a folder of your own")


class NodeLock:
    """Held while a node of this name runs; released by the kernel however the process ends."""

    def __init__(self, name: str) -> None:
        self.folder = _writable_folder()
        self.name = name
        self.path = self.folder / f"{name}.lock"
        for other in folders():
            if other != self.folder and is_locked(other / f"{name}.lock"):
                raise AlreadyRunning(f"node {name} runs already")
        self._file = self._acquire()

    def _acquire(self) -> IO[str]:
        until = time.monotonic() + ASKING_SECONDS
        while True:
            file = self.path.open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                # Who only asks whether a node runs holds the lock, too, for a moment.
                if time.monotonic() < until:
                    time.sleep(0.005)
                    continue
                raise AlreadyRunning(
                    f"node {self.name} runs already: stop it with `wgvx down {self.name}`"
                ) from None
            # Whoever held it may have removed it between our open and our lock.
            if self.path.exists() and self.path.samefile(f"/proc/self/fd/{file.fileno()}"):
                return file
            file.close()

    @property
    def socket(self) -> Path:
        """Where the node's control socket belongs."""
        return self.folder / f"{self.name}.sock"

    def release(self, unlink: Callable[[Path], None] | None = None) -> None:
        """The node has ended, and everything it created is gone, this file with it; ``unlink``
        takes its name away where we may not."""
        if unlink is None:
            self.path.unlink(missing_ok=True)
        else:
            unlink(self.path)
        self._file.close()


def is_locked(path: Path) -> bool:
    """Whether a node holds this lock."""
    if not _is_ours(path.parent):
        return False
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def wait_released(lock: IO[str]) -> None:
    """Return when the node that holds this lock has ended. Opened while the node ran: its path may
    be another one's by now.
    """
    fcntl.flock(lock, fcntl.LOCK_SH)


def running() -> Iterator[tuple[str, Path]]:
    """(name, lock) of all nodes that run as this user."""
    for folder in folders():
        if _is_ours(folder):
            for lock in sorted(folder.glob("*.lock")):
                if is_locked(lock):
                    yield lock.stem, lock


def find_running(name: str) -> Path | None:
    """The lock of a running node."""
    for folder in folders():
        lock = folder / f"{name}.lock"
        if is_locked(lock):
            return lock
    return None

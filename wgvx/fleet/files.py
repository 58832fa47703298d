"""Files that are written whole or not at all, and trees of them that are kept as they should be.

A file with a key in it is 0600 from its first byte on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wgvx import keys

SECRET_MODE = 0o600
PUBLIC_MODE = 0o644
SCRIPT_MODE = 0o755

MAXIMUM_KEY_FILE = 4096


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """While this lasts, nobody else is in here for a file of the same folder: what two made at once
    would not fit together."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class File(NamedTuple):
    """A file to be."""

    text: str
    mode: int = PUBLIC_MODE


class Changes(NamedTuple):
    """What a tree that is there lacks to be the one that is wanted; paths relative to it."""

    made: list[str]
    changed: list[str]
    removed: list[str]

    def __bool__(self) -> bool:
        return any(self)


def write(path: Path, text: str, mode: int = PUBLIC_MODE, *, durable: bool = False) -> None:
    """Put a file in its place in one step. `durable`: it survives a power failure from then on."""
    data = text.encode()
    temporary = os.fspath(path.parent / f".{path.name}.new")
    descriptor = _opened(temporary)
    try:
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:] if written else data)
            if mode != SECRET_MODE:
                os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)  # noqa: PTH104 - tens of thousands of times
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(path)  # A full disk does not say whose file it was.
        raise


def read_key(path: Path) -> str:
    """The key in a file, base64. OSError where it cannot be read, ValueError where it has none."""
    with path.open("rb") as file:
        text = file.read(MAXIMUM_KEY_FILE).decode("ascii").strip()
    keys.decode(text)
    return text


def _opened(temporary: str) -> int:
    """A new file that nobody else can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, SECRET_MODE)
    except FileExistsError:
        # Left behind by one that was killed: it may have another mode.
        Path(temporary).unlink()
        return os.open(temporary, flags, SECRET_MODE)


def read_tree(folder: Path) -> dict[str, File]:
    """Every file below `folder`, by path relative to it; nothing where there is no such folder."""
    found: dict[str, File] = {}
    waiting = [(os.fspath(folder), "")]
    while waiting:
        path, below = waiting.pop()
        try:
            entries = os.scandir(path)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{below}{entry.name}/"))
                elif entry.is_file(follow_symlinks=False):
                    mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                    with Path(entry.path).open(errors="replace", newline="") as file:
                        found[below + entry.name] = File(file.read(), mode)
                else:
                    found[below + entry.name] = File("")  # a link or so: none of ours
    return found


def compare(before: Mapping[str, File], after: Mapping[str, File]) -> Changes:
    """What has to happen to `before` to become `after`."""
    return Changes(
        made=sorted(after.keys() - before.keys()),
        changed=sorted(path for path in after.keys() & before if after[path] != before[path]),
        removed=sorted(before.keys() - after.keys()),
    )


def write_tree(folder: Path, tree: Mapping[str, File]) -> Changes:
    """Make `folder` hold `tree` and nothing else; files that are as they should be stay untouched.

    The folder itself is 0700: whoever may not read the keys need not know the names.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    changes = compare(read_tree(folder), tree)
    # First, as it may be in the way: a link where a folder is to be would lead keys elsewhere.
    for path in changes.removed:
        (folder / path).unlink()
    if changes.made or changes.removed:
        _remove_empty(folder)
    for parent in sorted({os.path.dirname(path) for path in changes.made}):  # noqa: PTH120
        (folder / parent).mkdir(parents=True, exist_ok=True)
    for path in (*changes.made, *changes.changed):
        write(folder / path, tree[path].text, tree[path].mode)
    return changes


def _remove_empty(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        if path != os.fspath(folder) and not os.listdir(path):  # noqa: PTH208
            Path(path).rmdir()

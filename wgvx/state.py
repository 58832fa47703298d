"""What survives a restart: the bound of the TAI64N stamps, one small file per public key."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from wgvx.wireguard.tai64n import TimestampSource

log = logging.getLogger(__name__)

SYSTEM_DIRECTORY = Path("/var/lib/wgvx")

LATEST = 1 << 63
"""Unix nanoseconds, in the year 2262: no clock says more, and TAI64 could not hold it for ever."""


def state_directory(configured: Path | None) -> Path:
    """Where state is kept: as configured, else by the caller's privilege."""
    if configured is not None:
        return configured
    if os.geteuid() == 0:
        return SYSTEM_DIRECTORY
    # The XDG base directory specification: a relative path is to be ignored.
    home = os.environ.get("XDG_STATE_HOME", "")
    if home.startswith("/"):
        return Path(home) / "wgvx"
    try:
        return Path.home() / ".local" / "state" / "wgvx"
    except RuntimeError:  # no $HOME, and a uid that nobody knows
        return SYSTEM_DIRECTORY


def write_bound(path: Path, bound: int) -> None:
    """Durable when this returns: written beside, synced, and put in place in one step. Raises
    OSError."""
    temporary = path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary.unlink(missing_ok=True)
    # A folder that others can write may hold a link in its place.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "w") as file:
        file.write(f"{bound}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # The new name is the folder's to keep.
    finally:
        os.close(folder)


class StampFile:
    """The file behind a :class:`TimestampSource`. What cannot be read or written is kept in memory,
    with one warning. ``write`` is who writes it, :func:`write_bound` or somebody in its place.
    """

    def __init__(
        self,
        directory: Path,
        public_key: bytes,
        write: Callable[[Path, int], None] = write_bound,
    ) -> None:
        self.path = directory / f"{hashlib.blake2s(public_key, digest_size=16).hexdigest()}.tai64n"
        self._write = write
        self._warned = False
        self.source = TimestampSource(self._load(), self._store)

    def close(self) -> None:
        """At a clean end the last stamp used replaces the bound reserved ahead."""
        if self.source.last:
            self._store(self.source.last)

    def _load(self) -> int:
        try:
            bound = int(self.path.read_text())
            if not 0 <= bound < LATEST:
                raise ValueError
            return bound
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._warn(error)
            return 0
        except ValueError:
            log.warning(
                "%s: holds no time and is written anew; where the clock was set back since, peers "
                "may ignore this node until it has caught up",
                self.path,
            )
            return 0

    def _store(self, bound: int) -> None:
        try:
            self._write(self.path, bound)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "%s: %s; handshake stamps are not kept: after a restart with the clock set back, "
                "peers may ignore this node. Set `state_dir` in [node] to a folder of your own",
                self.path,
                error.strerror,
            )

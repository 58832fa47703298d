"""What survives a restart: the bound of the TAI64N stamps, one small file per public key."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from wgvx.wireguard.tai64n import TimestampSource

log = logging.getLogger(__name__)


def state_directory(configured: Path | None) -> Path:
    """Where state is kept: as configured, else by the caller's privilege."""
    if configured is not None:
        return configured
    if os.geteuid() == 0:
        return Path("/var/lib/wgvx")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "wgvx"


class StampFile:
    """The file behind a :class:`TimestampSource`. What cannot be read or written is kept in memory,
    with one warning.
    """

    def __init__(self, directory: Path, public_key: bytes) -> None:
        self._path = directory / f"{hashlib.blake2s(public_key, digest_size=16).hexdigest()}.tai64n"
        self._warned = False
        self.source = TimestampSource(self._load(), self._store)

    def close(self) -> None:
        """At a clean end the last stamp used replaces the bound reserved ahead."""
        if self.source.last:
            self._store(self.source.last)

    def _load(self) -> int:
        try:
            return int(self._path.read_text())
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            self._warn(error)
            return 0

    def _store(self, bound: int) -> None:
        """Durable when this returns: written beside, synced, and put in place in one step."""
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with temporary.open("w") as file:
                file.write(f"{bound}\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "%s: %s; handshake stamps are not kept: after a restart with the clock set back, "
                "peers may ignore this node. Set `state_dir` in [node] to a folder of your own",
                self._path,
                error,
            )

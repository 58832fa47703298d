"""Who watches over the node, if somebody does: a service manager such as systemd."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from wgvx.cli.units import counted
from wgvx.node import Node

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Supervision:
    """What the environment says of it."""

    manager: str | None
    """Where it listens (NOTIFY_SOCKET)."""
    watchdog: float | None
    """Seconds after which a node that has not been heard of is taken for dead."""

    @classmethod
    def take(cls, environ: MutableMapping[str, str], process: int) -> Self:
        """Out of the environment, so that no program which is started is taken for us; see
        sd_notify(3) and sd_watchdog_enabled(3)."""
        manager = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", str(process))
        if not manager.startswith(("/", "@")):
            return cls(None, None)
        if watched == str(process) and microseconds.isascii() and microseconds.isdecimal():
            return cls(manager, int(microseconds) / 1e6 or None)
        return cls(manager, None)


class Supervisor:
    """Tells the manager, by the node's errands, how the node is."""

    def __init__(self, node: Node, watchdog: float | None) -> None:
        self._node = node
        self._interval = None if watchdog is None else watchdog / 2
        self._beat: asyncio.TimerHandle | None = None
        self._is_stopping = False

    def ready(self) -> None:
        """It serves; from now on a sign of life comes twice in the time allowed."""
        self._tell("ready", self._summary())
        self._live()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """It reads its file again, and serves all the same."""
        self._tell("reloading")
        try:
            yield
        finally:
            if not self._is_stopping:
                self._tell("ready", self._summary())

    def stopping(self) -> None:
        """It ends, whatever else goes on."""
        self._is_stopping = True
        if self._beat is not None:
            self._beat.cancel()
        self._tell("stopping")

    def _live(self) -> None:
        if self._interval is not None:
            self._tell("alive")
            self._beat = asyncio.get_running_loop().call_later(self._interval, self._live)

    def _summary(self) -> str:
        peers = counted(len(self._node.engine.peers), "peer")
        networks = counted(len(self._node.engine.networks), "network")
        return f"UDP port {self._node.listen_port}, {peers}, {networks}"

    def _tell(self, state: str, status: str | None = None) -> None:
        try:
            self._node.errands.notify(state, status)
        except OSError as error:
            log.warning("the service manager is not told (%s): %s", state, error.strerror or error)

"""What SIGHUP means to a node: that its terminal is gone, or that it is to reload."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

STANDARD = (0, 1, 2)


class Hangup:
    """Made while the terminal, if there is one, is there, and before the node is confined."""

    def __init__(self, stop: Callable[[], object], reload: Callable[[], object]) -> None:
        self._stop = stop
        self._reload = reload
        self._terminals = [fd for fd in STANDARD if os.isatty(fd)]

    def __call__(self) -> None:
        """SIGHUP came."""
        if self._is_gone():
            self._stop()
        else:
            self._reload()

    def _is_gone(self) -> bool:
        poll = select.poll()
        for fd in self._terminals:
            poll.register(fd, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

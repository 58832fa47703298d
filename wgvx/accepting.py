"""Connections that come to a listening socket, taken one by one in an event loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

REST: Final = 0.1
"""Seconds without accepting, where the process has no descriptor left, or the system no room."""

_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Gives each connection to ``accepted``, whose it is then; ``listener`` becomes the acceptor's.
    ``full`` is called where there is no room for one, and says whether it makes some. To be made in
    a running loop.
    """

    def __init__(
        self,
        listener: socket.socket,
        accepted: Callable[[socket.socket], None],
        full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._listener, self._accepted, self._full = listener, accepted, full
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._watch()

    def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._rest is not None:
            self._rest.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def _watch(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError as error:
            # It went away again; or there is no room, and it would be ready at once again.
            if error.errno in _NO_ROOM and not self._full():
                self._loop.remove_reader(self._listener.fileno())
                self._rest = self._loop.call_later(REST, self._watch)
            return
        self._accepted(connected)

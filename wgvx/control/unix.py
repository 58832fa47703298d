"""Unix stream sockets that a node listens on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path


def in_use(path: Path) -> bool:
    """Whether somebody answers at a socket's path."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


async def send(client: asyncio.StreamWriter, data: bytes) -> None:
    """Send an answer, and wait while the caller does not read. ConnectionError if it went away."""
    if client.is_closing():  # uvloop raises a RuntimeError for a write to it.
        raise ConnectionResetError
    client.write(data)
    await client.drain()


class UnixServer:
    """Serves every caller of one socket until closed.

    ``converse(reader, writer)`` talks to one caller; a ValueError or ConnectionError of it ends the
    connection and nothing else. ``limit`` is a line's in bytes, ``unlink`` takes the socket's name
    away in the end.
    """

    def __init__(
        self,
        path: Path,
        mode: int,
        limit: int,
        converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        unlink: Callable[[Path], None],
    ) -> None:
        self._path = path
        self._mode = mode
        self._limit = limit
        self._converse = converse
        self._unlink = unlink
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    @property
    def serves(self) -> bool:
        """Whether it was started."""
        return self._server is not None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listen(self._path, self._mode), limit=self._limit
        )

    async def close(self) -> None:
        """Answer no more; the socket is gone. What a caller does not read now, it will never."""
        if self._server is None:
            return
        self._unlink(self._path)
        self._server.close()
        for client in self._clients:
            if client.transport.get_write_buffer_size():
                client.transport.abort()
            client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            # Cancelled where the loop ends before a caller has gone: asyncio's own streams would
            # report that as an error.
            with contextlib.suppress(ValueError, ConnectionError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._clients.discard(writer)
            writer.close()


def listen(path: Path, mode: int) -> socket.socket:
    """A listening socket with these permissions from its first moment; replaces a stale one."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    previous = os.umask(0o777 & ~mode)
    try:
        server.bind(str(path))
        server.listen(16)
    except BaseException:
        server.close()
        raise
    finally:
        os.umask(previous)
    return server

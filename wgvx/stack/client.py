"""Those who come to a proxy: a socket, and what was read from it beyond what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self


class ClientError(Exception):
    """The client does not speak the protocol, or has gone: nothing is left to tell it."""


class Client:
    """One client. The socket is closed at the end of the ``with``, unless it was given on."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.gives_way = False
        """Whether it is let go where another has no room: while its request is still to come, and
        once it has been answered."""
        self._loop = asyncio.get_running_loop()
        self._read = b""

    @asynccontextmanager
    async def request(self, patience: float) -> AsyncIterator[None]:
        """What is read in it is the request, for which there are so many seconds. Raises
        TimeoutError."""
        self.gives_way = True
        async with asyncio.timeout(patience):
            yield
        self.gives_way = False

    async def exactly(self, length: int) -> bytes:
        """The next so many bytes. Raises ClientError."""
        while len(self._read) < length:
            # No more than is asked for: the rest is for whoever has the socket next.
            self._read += await self._receive(length - len(self._read))
        taken, self._read = self._read[:length], self._read[length:]
        return taken

    async def until(self, separator: bytes, limit: int) -> bytes:
        """All before and with the separator, at most ``limit`` bytes. Raises ClientError."""
        while (end := self._read.find(separator)) < 0:
            if len(self._read) >= limit:
                raise ClientError("more than is taken")
            self._read += await self._receive(limit - len(self._read))
        end += len(separator)
        taken, self._read = self._read[:end], self._read[end:]
        return taken

    async def send(self, data: bytes) -> None:
        """Raises ClientError."""
        try:
            await self._loop.sock_sendall(self.socket, data)
        except OSError as error:
            raise ClientError(str(error)) from error

    async def gone(self) -> None:
        """Return once the client has closed its end; what it sends until then is ignored."""
        with contextlib.suppress(ClientError):
            while True:
                await self._receive(1024)
                # asyncio's own loop reads what is there at once, and would never do anything else.
                await asyncio.sleep(0)

    def rest(self) -> bytes:
        """What was read and is nobody's yet."""
        taken, self._read = self._read, b""
        return taken

    async def _receive(self, most: int) -> bytes:
        try:
            data = await self._loop.sock_recv(self.socket, most)
        except OSError as error:
            raise ClientError(str(error)) from error
        if not data:
            raise ClientError("it has closed")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.socket.close()

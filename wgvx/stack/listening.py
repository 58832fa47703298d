"""Ports of the host that clients come to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from wgvx.accepting import Acceptor
from wgvx.config import EndpointName
from wgvx.stack.client import Client, ClientError

log = logging.getLogger(__name__)

BACKLOG: Final = 128
MAX_CLIENTS: Final = 512
"""Clients of one listener whose connections are not made yet. The one whose request is awaited for
longest makes room for another; so does one that was answered, and is still there."""

KEEPALIVE: Final = {
    socket.TCP_KEEPIDLE: 120,
    socket.TCP_KEEPINTVL: 15,
    socket.TCP_KEEPCNT: 4,
}
"""Seconds, and how often, until a client that says nothing has to be there."""

Serve = Callable[[Client], Awaitable[None]]


def host_sockets(where: EndpointName, kind: socket.SocketKind) -> list[socket.socket]:
    """Bound to all addresses of a host name; host "" is every address. Raises OSError."""
    found = socket.getaddrinfo(where.host or None, where.port, type=kind, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    refused: OSError | None = None
    try:
        for family, _, protocol, _, sockaddr in found:
            try:
                made.append(_bound(family, kind, protocol, sockaddr))
            except OSError as error:
                # A host may know of a family that it does not have.
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                refused = error
        if not made and refused is not None:
            raise refused
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


def _bound(family: int, kind: int, protocol: int, sockaddr: Any) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """Serves each client in a task of its own, ``serve`` to its end, at most ``most`` at a time
    (MAX_CLIENTS). Who is not is counted in ``refused``. Raises OSError.
    """

    def __init__(
        self,
        where: EndpointName,
        serve: Serve,
        refused: Counter[str] | None = None,
        most: int | None = None,
    ) -> None:
        self._serve = serve
        self._refused = Counter[str]() if refused is None else refused
        self._most = MAX_CLIENTS if most is None else most
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[asyncio.Task[None], Client] = {}
        """In the order in which they came."""
        sockets = host_sockets(where, socket.SOCK_STREAM)
        try:
            for sock in sockets:
                # Those accepted inherit it.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in KEEPALIVE.items():
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
                sock.listen(BACKLOG)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self._acceptors = [Acceptor(sock, self._accepted, self._full) for sock in sockets]

    def close(self) -> None:
        """Listen no more, and let go of the clients that are not joined. Idempotent."""
        for acceptor in self._acceptors:
            acceptor.close()
        for task in self._tasks:
            task.cancel()

    def _full(self) -> bool:
        self._refused["descriptors_full"] += 1
        return self._make_room()

    def _accepted(self, accepted: socket.socket) -> None:
        if len(self._tasks) >= self._most and not self._make_room():
            self._refused["clients_full"] += 1
            accepted.close()
            return
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(accepted)
        task = self._loop.create_task(self._serve_one(client))
        self._tasks[task] = client
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def _make_room(self) -> bool:
        """Let go of the client that has been here longest, of those whose turn it is to do
        something."""
        for task, client in self._tasks.items():
            if client.gives_way:
                self._refused["clients_slow"] += 1
                task.cancel()
                del self._tasks[task]
                return True
        return False

    async def _serve_one(self, client: Client) -> None:
        with client:
            try:
                await self._serve(client)
            except (ClientError, TimeoutError, ConnectionResetError) as error:
                log.debug("a client: %s", error)
            client.gives_way = True
            with contextlib.suppress(OSError):
                await _see_off(client)


async def _see_off(client: Client) -> None:
    """Let the client have the last answer: a close with its bytes unread would be a reset."""
    if client.socket.fileno() < 0:
        return
    client.socket.shutdown(socket.SHUT_WR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await client.gone()

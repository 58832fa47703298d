"""Ports that lead to one place: from the host into the overlay (ssh -L), and back (ssh -R)."""

from __future__ import annotations

import asyncio
import logging
import socket
from ipaddress import ip_address
from typing import Final

from wgvx.config import Address, EndpointName, Forward
from wgvx.stack.client import Client
from wgvx.stack.dialer import Dialer
from wgvx.stack.glue import Connection, Stack
from wgvx.stack.names import HostLookUp

log = logging.getLogger(__name__)

PATIENCE: Final = 20.0
"""Seconds that the host's end of a remote forward has to answer."""


class LocalForward:
    """Serves the clients of one port of the host."""

    def __init__(self, dialer: Dialer, target: EndpointName) -> None:
        self._dialer, self._target = dialer, target

    async def serve(self, client: Client) -> None:
        """Raises ClientError and ConnectionResetError."""
        try:
            connection = await self._dialer.connect(self._target.host, self._target.port)
        except OSError as error:
            log.debug("forward to %s: %s", self._target, error)
            return
        with connection:
            connection.join(client.socket, client.rest())


class RemoteForward:
    """A port of the stack whose connections go to a place that the host reaches. Raises OSError."""

    def __init__(self, stack: Stack, forward: Forward, look_up: HostLookUp) -> None:
        self._stack = stack
        self._look_up = look_up
        self._target = forward.target
        self._tasks: set[asyncio.Task[None]] = set()
        host = forward.listen.host
        self._number = stack.listen(
            ip_address(host) if host else None, forward.listen.port, self._accept
        )

    def close(self) -> None:
        self._stack.unlisten(self._number)
        for task in self._tasks:
            task.cancel()

    def _accept(self, connection: Connection, address: Address) -> None:
        task = asyncio.get_running_loop().create_task(self._forward(connection, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, connection: Connection, address: Address) -> None:
        with connection:
            try:
                async with asyncio.timeout(PATIENCE):
                    sock = await _connected(self._target, self._look_up)
            except OSError as error:
                log.debug("%s to %s: %s", address, self._target, error)
                return
            with sock:
                try:
                    connection.join(sock)
                except ConnectionResetError as error:
                    log.debug("%s to %s: %s", address, self._target, error)


async def _connected(target: EndpointName, look_up: HostLookUp) -> socket.socket:
    """A socket of the host's. Raises OSError."""
    refused: OSError = ConnectionRefusedError(f"{target} has no address")
    for family, sockaddr in await look_up(target):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, sockaddr)
        except OSError as error:
            sock.close()
            refused = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refused

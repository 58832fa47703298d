"""Unix stream sockets that a node listens on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
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


def close_clients(clients: Iterable[asyncio.StreamWriter]) -> None:
    """End connections. What one does not read now, it will never."""
    for client in clients:
        if client.transport.get_write_buffer_size():
            client.transport.abort()
        client.close()


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

"""What ports want from outside of this process: names of hosts, and VMs' sockets by their paths."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Final, Protocol

from wgvx.config import EndpointName, SocketAddress
from wgvx.hosts import Place, look_up, look_up_now


class Outside(Protocol):
    """Who reaches for what lies outside of the process, which the node itself may be unable to."""

    def connect_stream(self, path: Path) -> socket.socket:
        """A stream socket connected to a VM's. Raises OSError."""

    def connect_dgram(self, local: Path, remote: Path) -> socket.socket:
        """A datagram socket called ``local``, connected to a VM's. Raises OSError."""

    async def look_up(self, name: EndpointName, *, passive: bool = False) -> list[Place]:
        """See :func:`wgvx.hosts.look_up`."""

    def remove(self, path: Path) -> None:
        """Take the name of a socket away that is ours."""


class Here:
    """Reaches for it from within this process."""

    def connect_stream(self, path: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return sock

    def connect_dgram(self, local: Path, remote: Path) -> socket.socket:
        return connected_dgram(place_of(local), place_of(remote))

    async def look_up(self, name: EndpointName, *, passive: bool = False) -> list[Place]:
        return await look_up(name, passive=passive)

    def remove(self, path: Path) -> None:
        """Ours, or one that a killed node left. Nothing but sockets."""
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()


HERE: Final = Here()


def connected_dgram(local: Place, remote: Place) -> socket.socket:
    """A datagram socket at ``local``. Raises OSError."""
    sock = bound(local)
    try:
        sock.connect(remote[1])
        with contextlib.suppress(OSError):
            while True:  # What came before may be anybody's.
                sock.recv(1)
    except BaseException:
        sock.close()
        raise
    return sock


def place_of(address: SocketAddress) -> Place:
    """Where an address is, for as long as it takes to look it up. Raises OSError."""
    if isinstance(address, Path):
        return socket.AF_UNIX, str(address)
    return look_up_now(address, passive=True)[0]


def bound(place: Place, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
    """A socket that has this address, and for a path is its owner's alone. Raises OSError."""
    family, address = place
    if family == socket.AF_UNIX:
        HERE.remove(Path(address))
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            return sock
        mask = os.umask(0o177)  # Frames are for this user alone to see.
        try:
            sock.bind(address)
        finally:
            os.umask(mask)
    except BaseException:
        sock.close()
        raise
    return sock

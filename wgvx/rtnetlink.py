"""The little of rtnetlink(7) that is spoken without a library: pyroute2 cannot run inside an event
loop, and does not name all that is wanted here. A request and its answer, and news of changes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import Final

# linux/netlink.h, linux/rtnetlink.h
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
RTM_NEWLINK: Final = 16
RTM_GETLINK: Final = 18
RTM_GETROUTE: Final = 26
_NLMSG_ERROR: Final = 2

_IFLA_IFNAME: Final = 3
_IFINFO: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")

_MAX_SEQUENCE: Final = (1 << 32) - 1
_ROOM: Final = 65536
_SECONDS: Final = 5.0


class Netlink:
    """A socket for many requests, of the network namespace that the calling thread was in. Raises
    OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(_SECONDS)
        self._sequence = 0

    def ask(self, kind: int, flags: int, body: bytes) -> bytes:
        """One request; the answer's body. Raises OSError with what the kernel refuses it for."""
        self._sequence = self._sequence % _MAX_SEQUENCE + 1
        length = _HEADER.size + len(body)
        header = _HEADER.pack(length, kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)
        sequence = 0
        while sequence != self._sequence:  # One that came too late is of an earlier request.
            answer = self._socket.recv(_ROOM)
            length, answered, _, sequence, _ = _HEADER.unpack_from(answer)
        if answered == _NLMSG_ERROR:
            code = -_ERROR.unpack_from(answer, _HEADER.size)[0]
            if code:
                raise OSError(code, os.strerror(code))
        return answer[_HEADER.size : length]

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


def ask(kind: int, flags: int, body: bytes) -> bytes:
    """One request on a socket of its own; see :meth:`Netlink.ask`."""
    with closing(Netlink()) as netlink:
        return netlink.ask(kind, flags, body)


def interface_index(name: str) -> int:
    """As if_nametoindex(3), which opens a socket of a family that a confined node may not have.
    Raises OSError where there is no such interface."""
    answer = ask(RTM_GETLINK, 0, link_named(name))
    return int(_IFINFO.unpack_from(answer)[2])


def link_named(name: str) -> bytes:
    """How the body of a request begins that is of an interface."""
    return _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute (struct rtattr), padded to four bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of those that stand in an answer's body from ``start`` on."""
    position = start
    while position + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind, body[position + _ATTRIBUTE.size : position + length]
        position += length + 3 & ~3

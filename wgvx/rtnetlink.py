"""The little of rtnetlink(7) that is spoken without a library: pyroute2 cannot run inside an event
loop, and does not name all that is wanted here. A request and its answer, and news of changes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
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

_ROOM: Final = 65536
_SECONDS: Final = 5.0


def ask(kind: int, flags: int, body: bytes) -> bytes:
    """One request in the calling thread's network namespace; the answer's body. Raises OSError
    with what the kernel refuses it for."""
    header = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(_SECONDS)
        netlink.send(header + body)
        answer = netlink.recv(_ROOM)
    length, answered, *_ = _HEADER.unpack_from(answer)
    if answered == _NLMSG_ERROR:
        code = -_ERROR.unpack_from(answer, _HEADER.size)[0]
        if code:
            raise OSError(code, os.strerror(code))
    return answer[_HEADER.size : length]


def interface_index(name: str) -> int:
    """As if_nametoindex(3), which opens a socket of a family that a confined node may not have.
    Raises OSError where there is no such interface."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
    answer = ask(RTM_GETLINK, 0, body)
    return int(_IFINFO.unpack_from(answer)[2])


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

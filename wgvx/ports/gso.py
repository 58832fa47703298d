"""How large a segment the kernel may hand to a device, for each family.

Spoken to the kernel directly: pyroute2 has no name for IFLA_GSO_IPV4_MAX_SIZE. On a kernel that has
it, from 6.3, IPv4 goes by that one, which follows IFLA_GSO_MAX_SIZE whenever that is set to 64 KiB
or less: so one attribute sets both families, and both are remembered and given back.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
_NLM_F_REQUEST: Final = 1
_NLM_F_ACK: Final = 4
_NLMSG_ERROR: Final = 2
_RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
_IFLA_GSO_MAX_SIZE: Final = 41
_IFLA_GSO_IPV4_MAX_SIZE: Final = 63

_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=HHI")
_ERROR: Final = struct.Struct("=i")

_ROOM: Final = 65536
_SECONDS: Final = 5.0


class Sizes(NamedTuple):
    """Bytes of the largest segment. ``ipv4`` is None where both families share ``all``."""

    all: int
    ipv4: int | None = None


def read(index: int) -> Sizes | None:
    """As they are now; None on a kernel that does not tell. Raises OSError."""
    answer = _ask(_RTM_GETLINK, 0, index)
    found: dict[int, int] = {}
    position = _LINK.size
    while position + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, position)
        if kind in (_IFLA_GSO_MAX_SIZE, _IFLA_GSO_IPV4_MAX_SIZE):
            found[kind] = _NUMBER.unpack_from(answer, position)[2]
        position += max(length + 3 & ~3, _ATTRIBUTE.size)
    if _IFLA_GSO_MAX_SIZE not in found:
        return None
    return Sizes(found[_IFLA_GSO_MAX_SIZE], found.get(_IFLA_GSO_IPV4_MAX_SIZE))


def write(index: int, sizes: Sizes) -> None:
    """Set them. Raises OSError: EPERM without CAP_NET_ADMIN, EINVAL above what the device can."""
    attributes = _NUMBER.pack(_NUMBER.size, _IFLA_GSO_MAX_SIZE, sizes.all)
    if sizes.ipv4 is not None:
        attributes += _NUMBER.pack(_NUMBER.size, _IFLA_GSO_IPV4_MAX_SIZE, sizes.ipv4)
    _ask(_RTM_NEWLINK, _NLM_F_ACK, index, attributes)


def limit(index: int, largest: int) -> None:
    """Let no segment be larger, of either family. Raises OSError as `write` does."""
    before = read(index)
    if before is not None and max(before.all, before.ipv4 or 0) > largest:
        write(index, Sizes(largest))


def _ask(kind: int, flags: int, index: int, attributes: bytes = b"") -> bytes:
    """One request about a device of the calling thread's network namespace; the answer's body."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attributes
    header = _HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST | flags, 1, 0)
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

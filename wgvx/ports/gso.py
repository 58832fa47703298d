"""How large a segment the kernel may hand to a device, for each family.

pyroute2 has no name for IFLA_GSO_IPV4_MAX_SIZE. On a kernel that has it, from 6.3, IPv4 goes by
that one, which follows IFLA_GSO_MAX_SIZE whenever that is set to 64 KiB or less: so one attribute
sets both families, and both are remembered and given back.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from wgvx.rtnetlink import NLM_F_ACK, RTM_GETLINK, RTM_NEWLINK, ask, attribute, attributes

# linux/if_link.h
_IFLA_GSO_MAX_SIZE: Final = 41
_IFLA_GSO_IPV4_MAX_SIZE: Final = 63

_LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_NUMBER: Final = struct.Struct("=I")


class Sizes(NamedTuple):
    """Bytes of the largest segment. ``ipv4`` is None where both families share ``all``."""

    all: int
    ipv4: int | None = None


def read(index: int) -> Sizes | None:
    """As they are now; None on a kernel that does not tell. Raises OSError."""
    answer = ask(RTM_GETLINK, 0, _link(index))
    found = {
        kind: _NUMBER.unpack(value)[0]
        for kind, value in attributes(answer, _LINK.size)
        if kind in (_IFLA_GSO_MAX_SIZE, _IFLA_GSO_IPV4_MAX_SIZE)
    }
    if _IFLA_GSO_MAX_SIZE not in found:
        return None
    return Sizes(found[_IFLA_GSO_MAX_SIZE], found.get(_IFLA_GSO_IPV4_MAX_SIZE))


def write(index: int, sizes: Sizes) -> None:
    """Set them. Raises OSError: EPERM without CAP_NET_ADMIN, EINVAL above what the device can."""
    body = _link(index) + attribute(_IFLA_GSO_MAX_SIZE, _NUMBER.pack(sizes.all))
    if sizes.ipv4 is not None:
        body += attribute(_IFLA_GSO_IPV4_MAX_SIZE, _NUMBER.pack(sizes.ipv4))
    ask(RTM_NEWLINK, NLM_F_ACK, body)


def limit(index: int, largest: int) -> None:
    """Let no segment be larger, of either family. Raises OSError as `write` does."""
    before = read(index)
    if before is not None and max(before.all, before.ipv4 or 0) > largest:
        write(index, Sizes(largest))


def _link(index: int) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)

"""What the kernel knows of the way to an address. Asks only: not a packet is sent."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from wgvx.rtnetlink import RTM_GETROUTE, Netlink, attribute, attributes

# <linux/in.h> and <linux/in6.h>; the socket module does not name them.
IP_MTU = 14
IPV6_MTU = 24

# <linux/rtnetlink.h>
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_RTA_DST: Final = 1
_RTA_SRC: Final = 2
_RTA_OIF: Final = 4
_RTA_METRICS: Final = 8
_RTA_MARK: Final = 16
_RTAX_MTU: Final = 2
_NUMBER: Final = struct.Struct("=I")


def route_mtu(host: str, port: int) -> int | None:
    """The MTU in bytes of the route to `host`, a numeric address (with or without a scope).

    What the kernel has learned of the path counts. None where there is no route, the host has no
    such family, or `host` is a name: nothing is looked up.
    """
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=flags
        )[0]
        with socket.socket(family, kind) as probe:
            # Connecting a datagram socket looks the route up, no more.
            probe.connect(address)
            if family == socket.AF_INET6:
                return probe.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
            return probe.getsockopt(socket.IPPROTO_IP, IP_MTU)
    except (OSError, UnicodeError):
        return None


def route_interface(netlink: Netlink, remote: bytes, local: bytes, fwmark: int) -> int | None:
    """The index of the interface through which packets leave for an IPv4 address from one of our
    own, both packed. None where none can, or the kernel does not tell.
    """
    for kind, value in _ask(netlink, socket.AF_INET, remote, local, 0, fwmark):
        if kind == _RTA_OIF:
            return int(_NUMBER.unpack(value)[0])
    return None


class Way(NamedTuple):
    """The interface that packets leave by, and what the kernel was told of the MTU behind it."""

    interface: int = 0
    mtu: int = 0
    """0: nothing."""


def route_way(netlink: Netlink, remote: bytes, scope: int, fwmark: int) -> Way:
    """To a packed address of either family; ``scope`` is a link-local's interface, otherwise 0."""
    family = socket.AF_INET if len(remote) == 4 else socket.AF_INET6
    way = Way()
    for kind, value in _ask(netlink, family, remote, b"", scope, fwmark):
        if kind == _RTA_OIF:
            way = way._replace(interface=int(_NUMBER.unpack(value)[0]))
        elif kind == _RTA_METRICS:
            told = dict(attributes(value, 0))
            if _RTAX_MTU in told:
                way = way._replace(mtu=int(_NUMBER.unpack(told[_RTAX_MTU])[0]))
    return way


def _ask(
    netlink: Netlink, family: int, remote: bytes, local: bytes, interface: int, fwmark: int
) -> Iterator[tuple[int, bytes]]:
    """The attributes of the route; none where there is none."""
    source = 8 * len(local)
    request = (
        _ROUTE.pack(family, 8 * len(remote), source, 0, 0, 0, 0, 0, 0)
        + attribute(_RTA_DST, remote)
        + (attribute(_RTA_SRC, local) if local else b"")
        + (attribute(_RTA_OIF, _NUMBER.pack(interface)) if interface else b"")
        + (attribute(_RTA_MARK, _NUMBER.pack(fwmark)) if fwmark else b"")
    )
    try:
        answer = netlink.ask(RTM_GETROUTE, 0, request)
    except OSError:
        return
    yield from attributes(answer, _ROUTE.size)

"""What the kernel knows of the way to an address. Asks only: not a packet is sent."""

from __future__ import annotations

import socket

# <linux/in.h> and <linux/in6.h>; the socket module does not name them.
IP_MTU = 14
IPV6_MTU = 24


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

"""Finds peers whose packets would be routed into our own overlay.

With a default route through a TAP, say, what is sent to a peer comes in again as a frame, is sent
to the peer in a larger packet, cut in two by the kernel, and so on, as fast as the node can.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable, Mapping, Set

from wgvx.config import NetworkConfig, TapAttach
from wgvx.route import route_way
from wgvx.rtnetlink import Netlink
from wgvx.wireguard.sessions import Endpoint

log = logging.getLogger(__name__)


def own_interfaces(networks: Iterable[NetworkConfig]) -> dict[int, str]:
    """The TAPs that are in this network namespace, and the bridges that they join, by index."""
    found = {}
    for network in networks:
        taps = [attach.name for attach in network.attach if isinstance(attach, TapAttach)]
        for name in () if network.netns else (*taps, network.bridge):
            with contextlib.suppress(OSError):
                if name is not None:
                    found[socket.if_nametoindex(name)] = name
    return found


class InwardRoutes:
    """Warns of each such peer once, and again when it has had another way in between.

    ``interfaces`` are :func:`own_interfaces`, ``describe`` what people call a peer.
    """

    def __init__(self, interfaces: Mapping[int, str], describe: Callable[[int], str]) -> None:
        self._interfaces = interfaces
        self._describe = describe
        self._told: set[int] = set()

    def check(self, peer: int, endpoint: Endpoint, netlink: Netlink, fwmark: int) -> None:
        """Look at the way to one peer."""
        way = route_way(netlink, endpoint.ip, endpoint.scope, fwmark)
        name = self._interfaces.get(way.interface)
        if name is None:
            self._told.discard(peer)
        elif peer not in self._told:
            self._told.add(peer)
            log.warning(
                "the route to %s leads into %s, our own overlay: what is sent there comes in again "
                "and may go round for ever; give that address a route past the overlay",
                *(self._describe(peer), name),
            )

    def keep(self, peers: Set[int]) -> None:
        """All others are no more."""
        self._told &= peers

"""Lets our address go when the way to a peer changes: the source is sticky on its own way alone.

A peer is answered from the address that it used. As send4() of the kernel's WireGuard does for
IPv4, that address is given up once the route leaves by another interface than the peer was heard
on. The kernel looks at the first packet after routes have changed or the peer was heard elsewhere;
we look when routes have changed, and what is given up is not learned again until they change back
(:meth:`wgvx.dataplane.interface.DataPlane.give_up_local_address`). Of IPv6 it only asks whether the
address is still ours, which a refused send tells (:meth:`wgvx.underlay.udp.UdpSocket.send`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from wgvx.dataplane.interface import DataPlane
from wgvx.route import route_interface
from wgvx.rtnetlink import Netlink
from wgvx.underlay.inward import InwardRoutes
from wgvx.wireguard.sessions import Endpoint

# <linux/rtnetlink.h>: link, IPv4 address, IPv4 route, IPv4 rule.
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x80
_GROUP_IPV6_ROUTE: Final = 0x400
_ROOM: Final = 65536

SHARE: Final = 20
"""A look at all peers is followed by a pause so many times as long: routing tables may change all
the time. With few peers it comes before the next packet, which is what the kernel's does.
"""

SLICE: Final = 256
"""Peers looked at in one turn of the loop, some 10 us each."""


class SourceWatch:
    """Watches the routing tables for a node. Raises OSError where netlink is not to be had.

    ``peers`` gives the numbers of those there are, ``fwmark`` the mark that is sent with;
    ``inward``, if there is one, is shown the peers as well.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        peers: Callable[[], Iterable[int]],
        fwmark: Callable[[], int],
        inward: InwardRoutes | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dataplane = dataplane
        self._peers = peers
        self._fwmark = fwmark
        self._inward = inward
        self._given_up: dict[int, Endpoint] = {}
        self._changed = asyncio.Event()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.bind((0, _GROUPS | (_GROUP_IPV6_ROUTE if inward else 0)))
            self._netlink = Netlink()
        except BaseException:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._on_news)
        self._task = self._loop.create_task(self._watch())
        if inward is not None:
            self.look()

    def look(self) -> None:
        """Look at all peers soon, as when routes have changed."""
        self._changed.set()

    async def close(self) -> None:
        """Watch no more."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._netlink.close()

    def _on_news(self) -> None:
        """That something changed is all that counts; an overrun says so, too."""
        self._changed.set()
        with contextlib.suppress(OSError):
            while self._socket.recv(_ROOM):
                pass

    async def _watch(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            begun = time.thread_time()
            await self._look()
            await asyncio.sleep(SHARE * (time.thread_time() - begun))

    async def _look(self) -> None:
        """At all peers."""
        there = set(self._peers())
        for gone in self._given_up.keys() - there:
            del self._given_up[gone]
        if self._inward is not None:
            self._inward.keep(there)
        for number, peer in enumerate(tuple(there), 1):
            if peer in there:
                self._check(peer)
            if number % SLICE == 0:
                await asyncio.sleep(0)
                there = set(self._peers())  # Some may be gone by now.

    def _check(self, peer: int) -> None:
        given_up = self._given_up.get(peer)
        if given_up is not None and self._is_the_way(given_up):
            self._dataplane.allow_local_address(peer)
            del self._given_up[peer]
        endpoint = self._dataplane.endpoint(peer)
        if endpoint is not None and endpoint.interface and not self._is_the_way(endpoint):
            self._dataplane.give_up_local_address(peer, endpoint)
            self._given_up[peer] = endpoint
        if endpoint is not None and self._inward is not None:
            self._inward.check(peer, endpoint, self._netlink, self._fwmark())

    def _is_the_way(self, endpoint: Endpoint) -> bool:
        way = route_interface(self._netlink, endpoint.ip, endpoint.local, self._fwmark())
        return way == endpoint.interface

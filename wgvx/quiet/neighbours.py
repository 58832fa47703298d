"""Which station has which IP address, as its own messages said."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from wgvx.vxlan.fdb import Local, Remote

MAX_NEIGHBOURS = 16384
"""Of a network; whoever was heard longest ago makes room."""


@dataclass(slots=True)
class Neighbour:
    """What was last heard of an address."""

    mac: bytes
    where: Local | Remote
    heard: int
    """When, in nanoseconds."""
    is_news: bool = True
    """Whether what was heard then was not known before."""
    flags: int | None = None
    """IPv6: as it advertised itself; None where it has not, and cannot be answered for."""
    contested: int | None = None
    """When another station was last said to have the address, in nanoseconds."""


class Neighbours:
    """IP address (packed, 4 or 16 bytes) to station."""

    def __init__(self, most: int = MAX_NEIGHBOURS) -> None:
        self._most = most
        self._by_address: OrderedDict[bytes, Neighbour] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_address)

    def get(self, address: bytes, since: int) -> Neighbour | None:
        """Who has an address, if heard at ``since`` or later."""
        neighbour = self._by_address.get(address)
        return neighbour if neighbour is not None and neighbour.heard >= since else None

    def hear(
        self, address: bytes, mac: bytes, where: Local | Remote, now: int, since: int
    ) -> Neighbour:
        """A station said of itself that it has the address; who was last heard before ``since`` is
        not known any more.
        """
        neighbour = self.get(address, since)
        if neighbour is None or neighbour.mac != mac:
            contested = None if neighbour is None else now
            neighbour = Neighbour(mac, where, now, contested=contested)
            self._by_address[address] = neighbour
        else:
            neighbour.is_news = neighbour.where != where
            neighbour.where = where
            neighbour.heard = now
        self._by_address.move_to_end(address)
        if len(self._by_address) > self._most:
            self._by_address.popitem(last=False)
        return neighbour

    def expire(self, before: int) -> None:
        """Forget whoever was last heard before then."""
        while self._by_address:
            address = next(iter(self._by_address))
            if self._by_address[address].heard >= before:
                return
            del self._by_address[address]

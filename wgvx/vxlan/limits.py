"""Storm control: how many frames a second may be sent everywhere, by where they enter.

Each port has its own buckets, and so have VTEPs, of which those with one hash share theirs: what is
kept stays small whoever sends. Twin of native/limits.c.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from zlib import crc32

from wgvx.drops import Reason
from wgvx.vxlan.bucket import Bucket
from wgvx.vxlan.ethernet import BROADCAST, is_group
from wgvx.vxlan.fdb import Local, Remote

VTEP_SLOTS: Final = 64


class Limits(NamedTuple):
    """Frames a second from each port and each VTEP; 0: as many as come."""

    broadcast: int = 0
    multicast: int = 0
    unknown: int = 0
    """To a unicast address that the FDB does not place."""


UNLIMITED: Final = Limits()

REASONS: Final = (Reason.BROADCAST_LIMIT, Reason.MULTICAST_LIMIT, Reason.UNKNOWN_LIMIT)
"""In the order of :class:`Limits`."""


class Limiter:
    """Keeps one network's limits, which may be changed at any time."""

    def __init__(self) -> None:
        self.limits = UNLIMITED
        self._buckets: dict[tuple[bool, int, int], Bucket] = {}
        """By whether it is a port, its number or the VTEP's slot, and the kind."""

    def refuses(self, destination: bytes, origin: Local | Remote, now: int) -> Reason | None:
        """Why a frame that would go everywhere is dropped instead, if it is."""
        kind = 2 if not is_group(destination) else 0 if destination == BROADCAST else 1
        rate = self.limits[kind]
        if not rate:
            return None
        if isinstance(origin, Local):
            place = True, origin.port, kind
        else:
            place = False, crc32(origin.vtep) % VTEP_SLOTS, kind
        bucket = self._buckets.get(place)
        if bucket is None:
            bucket = self._buckets[place] = Bucket()
        return None if bucket.take(rate, 1, now) else REASONS[kind]

    def forget_port(self, port: int) -> None:
        """It is no more."""
        for kind in range(len(Limits._fields)):
            self._buckets.pop((True, port, kind), None)

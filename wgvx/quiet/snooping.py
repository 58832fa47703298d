"""Multicast snooping: groups reach only who listens to them (RFC 4541; IGMP and MLD).

As a Linux bridge does it. While no querier is heard in a family, everything goes everywhere, as
without snooping, and so until those who listen had the time to answer its first query. From then on

- a group that hosts join goes to the places, ports and VTEPs, where one listens, and to routers;
- a group that nobody listens to goes to routers alone;
- 224.0.0.0/24, and what IPv6 has like it (:func:`~wgvx.vxlan.ethernet.is_joined`), go everywhere.

Routers are where queries, PIM hellos or router advertisements of RFC 4286 come from, even queries
from 0.0.0.0: bridges that ask so want the answers.

**Where reports go.** To no port but those of routers, for a host that hears another's older report
keeps silent. Yet from a port to all VTEPs of the flood list: what comes out of the tunnel never
goes back into it, so a VTEP that sends to a group must have heard itself who listens, wherever the
querier is.

Hosts behind a VTEP that does not snoop would hear those reports, and keep silent, too. So a VTEP
without a router gets, in place of an older report, one of the newest version with the same in it,
which silences nobody. And where an older one comes from a VTEP, and no newer one of the same
station behind it, it may have silenced anybody behind a third VTEP: the group goes everywhere for
as long as that report holds.

Who leaves is found by the querier, who asks whether others listen; that question makes all nodes
forget whoever does not answer. Nobody leaves without it: there is no fast leave.

What does not fit (wgvx/quiet/memberships.py) goes everywhere; nothing is lost for want of room.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from wgvx.quiet import igmp, mld
from wgvx.quiet.feature import Feature, Surroundings
from wgvx.quiet.listeners import Query, Report
from wgvx.quiet.memberships import Memberships, Place, forwarding
from wgvx.vxlan.ethernet import ETHERTYPE_IPV6, ZERO_GROUP_IPV4, ZERO_GROUP_IPV6, is_group
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import Watch

_SECOND = 1_000_000_000
_LOOKING = 10 * _SECOND
"""How often groups that go everywhere are given the flood list anew, which may have changed."""
_SHOWN = 64
"""Groups of a family."""


class _Family:
    """What the data plane was told for one family."""

    def __init__(self, zero_group: bytes) -> None:
        self.zero_group = zero_group
        self.memberships = Memberships()
        self.told: dict[bytes, Forwarding] = {}
        self.everywhere: set[bytes] = set()
        """MACs among them for which it was told all places there are."""


class Snooping(Feature):
    """One network's."""

    name = "snooping"
    kinds = Watch.GROUPS

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._ipv4 = _Family(ZERO_GROUP_IPV4)
        self._ipv6 = _Family(ZERO_GROUP_IPV6)
        self._next_look: int | None = None

    # ---- frames ----

    def handle(self, origin: Local | Remote, frame: bytes, now: int) -> bool:
        """True: it has gone where it is wanted."""
        if not is_group(frame):
            return False
        is_ipv6 = frame[12] << 8 | frame[13] == ETHERTYPE_IPV6
        family = self._ipv6 if is_ipv6 else self._ipv4
        message = (mld if is_ipv6 else igmp).parse(frame)
        if isinstance(message, Query):
            to = None if message.group is None else self._everywhere()
            # Of whom it does not reach, no answer can be expected.
            if self._forward(origin, frame, to, now):
                family.memberships.hear_query(origin, message, now)
                self._tell(family, now)
        elif isinstance(message, Report):
            self._hear_report(family, origin, frame, message, now)
            if not family.memberships.is_asked(now):
                return False
            self._forward_report(family, origin, frame, message, now)
        elif message is not None:
            family.memberships.hear_router(origin, now)
            self._tell(family, now)
            return False
        return message is not None

    def _hear_report(
        self, family: _Family, origin: Place, frame: bytes, report: Report, now: int
    ) -> None:
        memberships, station = family.memberships, frame[6:12]
        memberships.hear_report(origin, report.joined, now)
        if isinstance(origin, Remote):
            if not report.older:
                memberships.translated(origin, station, report.joined, now)
            elif any(vtep != origin.vtep for vtep in self._flood()):
                memberships.silence(origin, station, report.joined, now)
        self._tell(family, now)

    def _forward_report(
        self, family: _Family, origin: Place, frame: bytes, report: Report, now: int
    ) -> None:
        routers = forwarding(family.memberships.routers())
        flood = self._flood()
        if not report.older:
            self._forward(origin, frame, Forwarding(routers.ports, flood), now)
            return
        asking = tuple(vtep for vtep in flood if vtep in routers.remotes)
        self._forward(origin, frame, Forwarding(routers.ports, asking), now)
        if isinstance(origin, Local):
            newer = (mld if family is self._ipv6 else igmp).newer_report
            for group in report.joined:
                self._forward(origin, newer(frame, group), Forwarding((), flood), now)

    def _forward(self, origin: Place, frame: bytes, to: Forwarding | None, now: int) -> bool:
        """To nobody, it is no drop: nobody wants it. False: a storm limit dropped it."""
        if to is None or to.remotes or any(origin != Local(port) for port in to.ports):
            return self._around.bridge.forward_frame(self._around.vni, origin, frame, now, to)
        return True

    def _flood(self) -> tuple[bytes, ...]:
        return self._around.bridge.fdb_flood(self._around.vni)

    def _everywhere(self) -> Forwarding:
        return Forwarding(tuple(self._around.ports), self._flood())

    # ---- what the data plane is told ----

    def _tell(self, family: _Family, now: int) -> None:
        """Let the data plane do as the memberships now are."""
        memberships = family.memberships
        if memberships.all_changed:
            macs = {*family.told, *memberships.macs, family.zero_group}
        elif memberships.restricts:
            macs = memberships.changed
        else:
            macs = set()
        for mac in macs:
            self._tell_group(family, mac, now)
        memberships.changed = set()
        memberships.all_changed = False
        if family.everywhere and self._next_look is None:
            self._next_look = now + _LOOKING

    def _tell_group(self, family: _Family, mac: bytes, now: int) -> None:
        memberships = family.memberships
        family.everywhere.discard(mac)
        to: Forwarding | None = None
        if memberships.restricts:
            places = memberships.places(mac, now)
            if mac != family.zero_group and mac not in memberships.macs:
                pass  # As its family's others.
            elif places is not None:
                to = forwarding(places)
            elif mac != family.zero_group:
                # With nothing said of it, it would go where the family's others do.
                to = self._everywhere()
                family.everywhere.add(mac)
        if to != family.told.get(mac):
            self._around.bridge.set_group(self._around.vni, mac, to)
            if to is None:
                del family.told[mac]
            else:
                family.told[mac] = to

    # ---- time ----

    def next_deadline(self) -> int | None:
        """When a member, a router or the querier is next forgotten, at the earliest."""
        deadlines = [family.memberships.next_deadline() for family in (self._ipv4, self._ipv6)]
        return min((at for at in (*deadlines, self._next_look) if at is not None), default=None)

    def expire(self, now: int) -> None:
        """Forget them."""
        looking = self._next_look is not None and now >= self._next_look
        if looking:
            self._next_look = None
        for family in (self._ipv4, self._ipv6):
            due = family.memberships.next_deadline()
            if due is not None and now >= due:
                family.memberships.expire(now)
            if looking:
                family.memberships.changed |= family.everywhere
            self._tell(family, now)

    def close(self, now: int) -> None:  # noqa: ARG002
        """Everything goes everywhere again."""
        for family in (self._ipv4, self._ipv6):
            for mac in family.told:
                self._around.bridge.set_group(self._around.vni, mac, None)
            family.told.clear()

    # ---- for people ----

    def show(self, now: int) -> dict[str, Any]:
        """Groups, places where somebody listens to them, and places of routers, all counted. By
        family: whether a querier is there, whether groups are restricted, where routers are, and
        some of the groups; ``full``: those of which nothing is known go everywhere;
        ``everywhere``: how many others do, by MAC.
        """
        memberships = [family.memberships for family in (self._ipv4, self._ipv6)]
        routers: set[Place] = set().union(*(one.routers() for one in memberships))
        return {
            "groups": sum(one.counts[0] for one in memberships),
            "members": sum(one.counts[1] for one in memberships),
            "routers": len(routers),
            "ipv4": self._shown(self._ipv4, now),
            "ipv6": self._shown(self._ipv6, now),
        }

    def _shown(self, family: _Family, now: int) -> dict[str, Any]:
        memberships = family.memberships
        rows = sorted(memberships.groups(), key=lambda row: row[0])[:_SHOWN]
        return {
            "querier": memberships.is_asked(now),
            "restricting": memberships.restricts,
            "full": memberships.is_crowded,
            "everywhere": len(family.everywhere),
            "routers": self._places(memberships.routers()),
            "listeners": [
                {"group": str(ip_address(group)), **self._places(places)} for group, places in rows
            ],
        }

    def _places(self, places: Iterable[Place]) -> dict[str, list[str]]:
        ports, vteps = forwarding(places)
        return {
            "ports": [self._around.port_name(port) for port in ports],
            "vteps": [str(ip_address(vtep)) for vtep in vteps],
        }

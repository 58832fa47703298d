"""Who listens to which groups of one family, as its queries and reports tell (RFC 4541).

A place is a port or a VTEP. The time that it counts as a member follows from the querier's values:
two of its queries may be lost, or their answers, less than one whole round; and while nobody asks,
nothing is known. The longest times that queriers now heard name hold, so that one who names short
ones does not make others' members forgotten.

Groups with one MAC are one to the data plane, and so they share an entry here, each with its own
members in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from wgvx.quiet.listeners import (
    DEFAULT_INTERVAL,
    DEFAULT_RESPONSE,
    DEFAULT_ROBUSTNESS,
    Query,
    group_mac,
)
from wgvx.vxlan.ethernet import is_joined
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.vtep import Forwarding

_SECOND = 1_000_000_000

MAX_GROUPS: Final = 1024
MAX_MEMBERS: Final = 16384
"""Places, of all groups together."""
MAX_ROUTERS: Final = 64

ROUTER_LIFETIME: Final = 255 * _SECOND
"""Of one that says so itself; as Linux."""
_MEMBERSHIP = DEFAULT_ROBUSTNESS * DEFAULT_INTERVAL + DEFAULT_RESPONSE
_SWEEPING = _SECOND // 4
"""How often what is over is looked for, at most."""
_MARGIN = _SECOND
"""Tunnels are slower than cables, and a querier may ask for answers at once."""
_TRANSLATION = _SECOND
"""Within which a node that translates an older report has done so."""

Place = Local | Remote


@dataclass(slots=True)
class _Router:
    until: int
    queries_until: int = 0
    membership: int = _MEMBERSHIP


class _Silence(NamedTuple):
    """Others may not have reported a group, for they heard this station report it."""

    station: bytes
    at: int
    until: int


@dataclass(slots=True)
class _Entry:
    """The groups of one MAC."""

    members: dict[bytes, dict[Place, int]] = field(default_factory=dict)
    """By group: until when."""
    silences: dict[Place, _Silence] = field(default_factory=dict)
    crowded_until: int = 0

    def is_everywhere(self, now: int) -> bool:
        """Whether its members are not known well enough to leave anybody out."""
        if now < self.crowded_until:
            return True
        return any(now < silence.until for silence in self.silences.values())


class Memberships:
    """One family's. ``now`` must not go back from call to call."""

    def __init__(self) -> None:
        self.changed: set[bytes] = set()
        """MACs of groups whose places may have changed; whoever acts on it empties it."""
        self.all_changed = False
        self._routers: dict[Place, _Router] = {}
        self._entries: dict[bytes, _Entry] = {}
        self._groups = 0
        self._members = 0
        self._asked_until = 0
        self._answered_at = 0
        """When the first query is answered by all who listen."""
        self._too_many_routers_until = 0
        self._crowded_until = 0
        self._restricts = False
        self._due: int | None = None
        self._swept = 0

    # ---- what is heard ----

    def hear_query(self, place: Place, query: Query, now: int) -> None:
        """A query came from a place: a router is there."""
        lifetime = query.robustness * query.interval + query.response // 2
        router = self._hear_router(place, now + lifetime, now)
        if query.group is None:
            if router is not None:
                # It may have changed its mind: what it says now holds.
                router.until = router.queries_until = now + lifetime
                router.membership = query.robustness * query.interval + query.response
                self._is_due(router.until, now)
                if now >= self._asked_until:
                    self._answered_at = now + query.response + _MARGIN
                    self._is_due(self._answered_at, now)
                # No longer than one of them says, or nobody would ask and members be forgotten.
                self._asked_until = max(one.queries_until for one in self._routers.values())
                self._is_due(self._asked_until, now)
        elif query.lowers:
            answered = max(query.robustness * query.response, _MARGIN)
            self._lower(query.group, now + answered, now)
        self._decide(now)

    def hear_router(self, place: Place, now: int) -> None:
        """A router at a place says that it is there."""
        self._hear_router(place, now + ROUTER_LIFETIME, now)
        self._decide(now)

    def _hear_router(self, place: Place, until: int, now: int) -> _Router | None:
        router = self._routers.get(place)
        if router is None:
            if len(self._routers) >= MAX_ROUTERS:
                self._too_many_routers_until = max(self._too_many_routers_until, until)
                self._is_due(until, now)
                return None
            router = self._routers[place] = _Router(until)
            self.all_changed = True
        router.until = max(router.until, until)
        self._is_due(router.until, now)
        return router

    def hear_report(self, place: Place, groups: Iterable[bytes], now: int) -> None:
        """A host at a place listens to these groups."""
        until = now + self._membership(now)
        for group in groups:
            mac = group_mac(group)
            if is_joined(mac):
                self._join(mac, group, place, until, now)

    def _join(self, mac: bytes, group: bytes, place: Place, until: int, now: int) -> None:
        entry = self._entries.get(mac)
        members = entry.members.get(group) if entry is not None else None
        if members is None or place not in members:
            full = self._members >= MAX_MEMBERS or (members is None and self._groups >= MAX_GROUPS)
            if full:
                self._crowd(mac, entry, until, now)
                return
            if entry is None:
                entry = self._entries[mac] = _Entry()
            if members is None:
                members = entry.members[group] = {}
                self._groups += 1
            self._members += 1
            self.changed.add(mac)
        members[place] = max(members.get(place, 0), until)
        self._is_due(until, now)

    def _crowd(self, mac: bytes, entry: _Entry | None, until: int, now: int) -> None:
        """There is no room for a member: what it listens to goes everywhere meanwhile."""
        if entry is not None:
            entry.crowded_until = max(entry.crowded_until, until)
            self.changed.add(mac)
        else:
            self.all_changed |= now >= self._crowded_until
            self._crowded_until = max(self._crowded_until, until)
        self._is_due(until, now)

    def silence(self, place: Place, station: bytes, groups: Iterable[bytes], now: int) -> None:
        """An older report of a station, which hosts at other places may have heard, too."""
        until = now + self._membership(now)
        for mac in map(group_mac, groups):
            entry = self._entries.get(mac)
            if entry is not None and (place in entry.silences or len(entry.silences) < MAX_ROUTERS):
                entry.silences[place] = _Silence(station, now, until)
                self.changed.add(mac)
                self._is_due(until, now)

    def translated(self, place: Place, station: bytes, groups: Iterable[bytes], now: int) -> None:
        """A newer report: where it says again what an older one just said, its VTEP snoops, and has
        let no other place hear that one.
        """
        for mac in map(group_mac, groups):
            entry = self._entries.get(mac)
            silence = entry.silences.get(place) if entry is not None else None
            if entry is None or silence is None or silence.station != station:
                continue
            if now - silence.at <= _TRANSLATION:
                del entry.silences[place]
                self.changed.add(mac)

    def _lower(self, group: bytes, until: int, now: int) -> None:
        """Whoever listens to a group has until then to say so."""
        entry = self._entries.get(group_mac(group))
        members = entry.members.get(group) if entry is not None else None
        if members:
            for place in members:
                members[place] = min(members[place], until)
            self._is_due(until, now)

    def _membership(self, now: int) -> int:
        asking = [r.membership for r in self._routers.values() if now < r.queries_until]
        return max(asking, default=_MEMBERSHIP)

    # ---- what follows ----

    def is_asked(self, now: int) -> bool:
        """Whether a querier is there: reports are for routers, and need not go everywhere."""
        return now < self._asked_until and now >= self._too_many_routers_until

    @property
    def restricts(self) -> bool:
        """Whether all who listen had the time to say so, and groups go to them alone."""
        return self._restricts

    @property
    def is_crowded(self) -> bool:
        """Whether groups that nobody is known to listen to go everywhere, as there are too many."""
        return bool(self._crowded_until)

    @property
    def macs(self) -> Collection[bytes]:
        """Of all groups that somebody listens to."""
        return self._entries.keys()

    def routers(self) -> set[Place]:
        """Where they are."""
        return set(self._routers)

    def places(self, mac: bytes, now: int) -> set[Place] | None:
        """Where a group's frames are wanted, routers among them; None: everywhere."""
        entry = self._entries.get(mac)
        if entry is None:
            return None if now < self._crowded_until else self.routers()
        if entry.is_everywhere(now):
            return None
        return self.routers().union(*entry.members.values())

    def groups(self) -> Iterator[tuple[bytes, set[Place]]]:
        """Each group, and where somebody listens."""
        for entry in self._entries.values():
            for group, members in entry.members.items():
                yield group, set(members)

    @property
    def counts(self) -> tuple[int, int]:
        """Groups, and places of all of them together."""
        return self._groups, self._members

    # ---- time ----

    def next_deadline(self) -> int | None:
        """When :meth:`expire` is next worth calling."""
        return None if self._due is None else max(self._due, self._swept + _SWEEPING)

    def _is_due(self, at: int, now: int) -> None:
        at = max(at, now)
        if self._due is None or at < self._due:
            self._due = at

    def expire(self, now: int) -> None:
        """Forget what is over."""
        self._swept, self._due = now, None
        for at in (self._asked_until, self._answered_at, self._too_many_routers_until):
            if at > now:
                self._is_due(at, now)
        if self._crowded_until > now:
            self._is_due(self._crowded_until, now)
        elif self._crowded_until:
            self._crowded_until = 0
            self.all_changed = True
        for place, router in list(self._routers.items()):
            if router.until > now:
                self._is_due(router.until, now)
            else:
                del self._routers[place]
                self.all_changed = True
        for mac in list(self._entries):
            self._expire_entry(mac, self._entries[mac], now)
        self._decide(now)

    def _expire_entry(self, mac: bytes, entry: _Entry, now: int) -> None:
        for place, silence in list(entry.silences.items()):
            if silence.until > now:
                self._is_due(silence.until, now)
            else:
                del entry.silences[place]
                self.changed.add(mac)
        if entry.crowded_until > now:
            self._is_due(entry.crowded_until, now)
        elif entry.crowded_until:
            entry.crowded_until = 0
            self.changed.add(mac)
        for group, members in list(entry.members.items()):
            for place, until in list(members.items()):
                if until > now:
                    self._is_due(until, now)
                else:
                    del members[place]
                    self._members -= 1
                    self.changed.add(mac)
            if not members:
                del entry.members[group]
                self._groups -= 1
        if not entry.members and not entry.is_everywhere(now):
            del self._entries[mac]

    def _decide(self, now: int) -> None:
        restricts = self.is_asked(now) and now >= self._answered_at
        self.all_changed |= restricts != self._restricts
        self._restricts = restricts


def forwarding(places: Iterable[Place]) -> Forwarding:
    """As the data plane takes it; equal places give equal values."""
    ports, remotes = set(), set()
    for place in places:
        if isinstance(place, Local):
            ports.add(place.port)
        else:
            remotes.add(place.vtep)
    return Forwarding(tuple(sorted(ports)), tuple(sorted(remotes)))

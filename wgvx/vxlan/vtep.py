"""A VXLAN tunnel end point: one bridge domain between local ports and remote VTEPs (RFC 7348)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wgvx.drops import Drop, Reason
from wgvx.vxlan.bucket import Bucket
from wgvx.vxlan.ethernet import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    HEADER_LENGTH,
    ZERO_GROUP_IPV4,
    ZERO_GROUP_IPV6,
    is_group,
    is_joined,
    is_reserved_group,
    is_valid_source,
)
from wgvx.vxlan.fdb import Fdb, Local, Remote
from wgvx.vxlan.limits import Limiter
from wgvx.vxlan.watch import (
    NOTHING,
    UNHEARD,
    WATCHED_A_SECOND,
    WATCHED_BYTES,
    Watch,
    kind_of,
)

Prefix = tuple[bytes, int]
"""A network, packed, and its length in bits."""

# By bits of the family and length: the leading ``length`` bits of each network, as a number.
_PrefixSet = dict[tuple[int, int], set[int]]


class Forwarding(NamedTuple):
    """Where copies of a frame go: ports of ours, and tunnel addresses of remote VTEPs."""

    ports: tuple[int, ...]
    remotes: tuple[bytes, ...]


class Vtep:
    """One VNI of a node: its FDB, its ports, and the rules a frame meets between them.

    ``ageing`` in nanoseconds; ``accept``: prefixes of the VTEPs that are heard, ``None`` for all.
    """

    def __init__(
        self,
        *,
        vni: int,
        udp_port: int,
        learning: bool,
        ageing: int,
        max_entries: int,
        accept: Sequence[Prefix] | None,
    ) -> None:
        self.vni = vni
        self.udp_port = udp_port
        self.fdb = Fdb(learning=learning, ageing=ageing, max_entries=max_entries)
        self.set_accept(accept)
        self.limiter = Limiter()
        self.watch = NOTHING
        self._handed_up = Bucket()
        self._probes_handed_up = Bucket()
        self._unheard_until = 0
        self._blocked: set[int] = set()
        self._groups: dict[bytes, Forwarding] = {}
        self._macs: dict[int, bytes | None] = {}  # by port
        # Derived from _macs whenever that changes, so that a frame finds them ready.
        self._ports: tuple[int, ...] = ()
        self._locals: dict[int, Local] = {}
        self._own_macs: frozenset[bytes] = frozenset()

    # ---- ports and settings ----

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports, in the order they were added."""
        return self._ports

    def add_port(self, port: int, mac: bytes | None) -> None:
        """Attach ``port``, with the ``mac`` of its own device if it has one.

        ``ValueError`` if the number or the address is taken.
        """
        if port in self._macs:
            raise ValueError(f"port {port} is attached to VNI {self.vni} already")
        if mac is not None:
            if mac in self._own_macs:
                raise ValueError(f"two ports of VNI {self.vni} have the address {mac.hex(':')}")
            self.fdb.add_permanent(mac, port)
        self._macs[port] = mac
        self._derive()

    def remove_port(self, port: int) -> None:
        """Detach ``port`` and forget what was learned on it."""
        del self._macs[port]
        self.fdb.remove_port(port)
        self.limiter.forget_port(port)
        self._blocked.discard(port)
        self._derive()

    def set_accept(self, accept: Sequence[Prefix] | None) -> None:
        """Hear only VTEPs within these prefixes, all with ``None``, nobody with an empty list."""
        self._accept: _PrefixSet | None = None
        if accept is not None:
            self._accept = {}
            for network, length in accept:
                bits = len(network) * 8
                number = int.from_bytes(network, "big") >> bits - length
                self._accept.setdefault((bits, length), set()).add(number)

    def _derive(self) -> None:
        self._ports = tuple(self._macs)
        self._locals = {p: Local(p) for p in self._ports}
        self._own_macs = frozenset(mac for mac in self._macs.values() if mac is not None)

    def set_blocked(self, port: int, blocked: bool) -> None:
        """Let nothing in from a port any more, nor out to it, but loop probes; or again."""
        (self._blocked.add if blocked else self._blocked.discard)(port)

    def is_blocked(self, port: int) -> bool:
        """Whether a port is."""
        return port in self._blocked

    def set_group(self, mac: bytes, members: Forwarding | None) -> None:
        """Send frames to a group to these alone; with None everywhere, as at first. The zero group
        of a family (wgvx/vxlan/ethernet.py): to those of its groups that nothing was said of. What
        is said of a group that hosts do not join (:func:`is_joined`) has no effect.
        """
        if members is None:
            self._groups.pop(mac, None)
        else:
            self._groups[mac] = members

    # ---- frames ----

    def enter(self, port: int, frame: bytes, now: int) -> bool:
        """A frame entered on local ``port``. True: it is watched, and to be handed up in place of
        :meth:`forward`.

        Raises ``Drop``: SHORT_FRAME, BAD_SOURCE_MAC, RESERVED_GROUP, SLOW_PATH (a probe),
        PORT_BLOCKED, STATIC_MOVED, STICKY_MOVED or MOVE_DAMPED, in this order.
        """
        if len(frame) < HEADER_LENGTH:
            raise Drop(Reason.SHORT_FRAME)
        source = frame[6:12]
        if not is_valid_source(source):
            raise Drop(Reason.BAD_SOURCE_MAC)
        if is_reserved_group(frame[:6]):
            raise Drop(Reason.RESERVED_GROUP)
        kind = self._watched_kind(frame)
        if kind is Watch.PROBES:  # Its source may be ours, and it may come by a blocked port.
            return self._hand_up(kind, frame, now)
        if port in self._blocked:
            raise Drop(Reason.PORT_BLOCKED)
        self.fdb.learn(source, self._locals[port], now)
        return self._hand_up(kind, frame, now)

    def arrive(self, source: bytes, frame: bytes, now: int) -> bool:
        """A frame came out of the tunnel from the VTEP with tunnel address ``source``. True: as
        for :meth:`enter`.

        Raises ``Drop``: VTEP_NOT_ACCEPTED, SHORT_FRAME, SLOW_PATH (a probe), OWN_MAC,
        BAD_SOURCE_MAC (with learning on only, as Linux), RESERVED_GROUP, STATIC_MOVED, STICKY_MOVED
        or MOVE_DAMPED, in this order.
        """
        if self._accept is not None and not _is_within(source, self._accept):
            raise Drop(Reason.VTEP_NOT_ACCEPTED)
        if len(frame) < HEADER_LENGTH:
            raise Drop(Reason.SHORT_FRAME)
        kind = self._watched_kind(frame)
        if kind is Watch.PROBES:
            return self._hand_up(kind, frame, now)
        source_mac = frame[6:12]
        if source_mac in self._own_macs:
            raise Drop(Reason.OWN_MAC)
        if self.fdb.learning and not is_valid_source(source_mac):
            raise Drop(Reason.BAD_SOURCE_MAC)
        if is_reserved_group(frame[:6]):
            raise Drop(Reason.RESERVED_GROUP)
        self.fdb.learn(source_mac, Remote(source), now)
        return self._hand_up(kind, frame, now)

    def _watched_kind(self, frame: bytes) -> Watch:
        return kind_of(frame) & self.watch if self.watch else NOTHING

    def _hand_up(self, kind: Watch, frame: bytes, now: int) -> bool:
        """What is over the rate goes on as it would without being watched; a probe does not. Who
        listens to groups may have said so in it: they go everywhere for a while.
        """
        if not kind:
            return False
        if kind is Watch.PROBES:
            if not self._probes_handed_up.take(WATCHED_A_SECOND, 1, now):
                raise Drop(Reason.SLOW_PATH)
            return True
        count = 1 + len(frame) // WATCHED_BYTES
        if self._handed_up.take(WATCHED_A_SECOND, count, now) == count:
            return True
        if kind is Watch.GROUPS:
            self._unheard_until = now + UNHEARD
        return False

    def forward(
        self, origin: Local | Remote, frame: bytes, now: int, to: Forwarding | None = None
    ) -> Forwarding:
        """Where an admitted frame goes. What came from a VTEP goes to no other (split horizon).
        The frame itself stays as it is. ``to``: where everywhere is, this once.

        Raises ``Drop``: SAME_PORT and NO_REMOTE for one from a port, BROADCAST_LIMIT,
        MULTICAST_LIMIT, UNKNOWN_LIMIT.
        """
        destination = frame[:6]
        local = isinstance(origin, Local)
        if not is_group(destination):
            where = self.fdb.lookup(destination, now)
            if isinstance(where, Local):
                if where == origin:
                    raise Drop(Reason.SAME_PORT)
                return Forwarding((where.port,), ())
            if where is not None and local:
                return Forwarding((), (where.vtep,))
        ports, remotes = self._everywhere(frame, now, to)
        if isinstance(origin, Local):
            ports = tuple(port for port in ports if port != origin.port)
            if not ports and not remotes:
                raise Drop(Reason.NO_REMOTE)
        reason = self.limiter.refuses(destination, origin, now)
        if reason is not None:
            raise Drop(reason)
        return Forwarding(ports, remotes if local else ())

    def _everywhere(self, frame: bytes, now: int, to: Forwarding | None) -> Forwarding:
        """All places that a group's frame goes to, or one that the FDB does not place."""
        destination = frame[:6]
        members = to
        if members is None and self._groups and is_joined(destination) and not self._misses(now):
            members = self._members_of(destination, frame[12] << 8 | frame[13])
        if members is None:
            return Forwarding(self._ports, self.fdb.replication(destination))
        ports = tuple(port for port in self._ports if port in members.ports)
        # Entries made by hand hold, but for a frame that is told where to go.
        by_hand = self.fdb.group(destination) if to is None else ()
        return Forwarding(ports, by_hand or members.remotes)

    def _misses(self, now: int) -> bool:
        """Whether there may be listeners that nobody heard of."""
        return now < self._unheard_until

    def _members_of(self, group: bytes, ethertype: int) -> Forwarding | None:
        """Behind a VLAN tag nobody sees who joins, and it goes everywhere."""
        is_ipv6 = bool(group[0] & 2)
        if ethertype != (ETHERTYPE_IPV6 if is_ipv6 else ETHERTYPE_IPV4):
            return None
        others = ZERO_GROUP_IPV6 if is_ipv6 else ZERO_GROUP_IPV4
        members = self._groups.get(group)
        return self._groups.get(others) if members is None else members


def _is_within(address: bytes, prefixes: _PrefixSet) -> bool:
    bits = len(address) * 8
    number = int.from_bytes(address, "big")
    return any(
        bits == family and number >> bits - length in networks
        for (family, length), networks in prefixes.items()
    )

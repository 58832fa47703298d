"""A VXLAN tunnel end point: one bridge domain between local ports and remote VTEPs (RFC 7348)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wgvx.drops import Drop, Reason
from wgvx.vxlan.ethernet import HEADER_LENGTH, is_group, is_reserved_group, is_valid_source
from wgvx.vxlan.fdb import Fdb, Local, Remote

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
        self._macs: dict[int, bytes | None] = {}  # by port
        # Derived from _macs whenever that changes, so that a frame finds them ready.
        self._ports: tuple[int, ...] = ()
        self._other_ports: dict[int, tuple[int, ...]] = {}
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
        self._other_ports = {p: tuple(q for q in self._ports if q != p) for p in self._ports}
        self._locals = {p: Local(p) for p in self._ports}
        self._own_macs = frozenset(mac for mac in self._macs.values() if mac is not None)

    # ---- frames ----

    def outbound(self, port: int, frame: bytes, now: int) -> Forwarding:
        """A frame entered on local ``port``: where it goes. The frame itself stays as it is.

        Raises ``Drop``: SHORT_FRAME, BAD_SOURCE_MAC, RESERVED_GROUP, STATIC_MOVED, SAME_PORT,
        NO_REMOTE, in this order.
        """
        if len(frame) < HEADER_LENGTH:
            raise Drop(Reason.SHORT_FRAME)
        destination, source = frame[:6], frame[6:12]
        if not is_valid_source(source):
            raise Drop(Reason.BAD_SOURCE_MAC)
        if is_reserved_group(destination):
            raise Drop(Reason.RESERVED_GROUP)
        self.fdb.learn(source, self._locals[port], now)
        if not is_group(destination):
            where = self.fdb.lookup(destination, now)
            if isinstance(where, Remote):
                return Forwarding((), (where.vtep,))
            if where is not None:
                if where.port == port:
                    raise Drop(Reason.SAME_PORT)
                return Forwarding((where.port,), ())
        ports, remotes = self._other_ports[port], self.fdb.replication(destination)
        if not ports and not remotes:
            raise Drop(Reason.NO_REMOTE)
        return Forwarding(ports, remotes)

    def inbound(self, source: bytes, frame: bytes, now: int) -> tuple[int, ...]:
        """A frame came out of the tunnel from the VTEP with tunnel address ``source``: its ports.

        Never to another VTEP (split horizon). Raises ``Drop``: VTEP_NOT_ACCEPTED, SHORT_FRAME,
        OWN_MAC, BAD_SOURCE_MAC (with learning on only, as Linux), RESERVED_GROUP, STATIC_MOVED, in
        this order.
        """
        if self._accept is not None and not _is_within(source, self._accept):
            raise Drop(Reason.VTEP_NOT_ACCEPTED)
        if len(frame) < HEADER_LENGTH:
            raise Drop(Reason.SHORT_FRAME)
        destination, source_mac = frame[:6], frame[6:12]
        if source_mac in self._own_macs:
            raise Drop(Reason.OWN_MAC)
        if self.fdb.learning and not is_valid_source(source_mac):
            raise Drop(Reason.BAD_SOURCE_MAC)
        if is_reserved_group(destination):
            raise Drop(Reason.RESERVED_GROUP)
        self.fdb.learn(source_mac, Remote(source), now)
        if not is_group(destination):
            where = self.fdb.lookup(destination, now)
            if isinstance(where, Local):
                return (where.port,)
        return self._ports


def _is_within(address: bytes, prefixes: _PrefixSet) -> bool:
    bits = len(address) * 8
    number = int.from_bytes(address, "big")
    return any(
        bits == family and number >> bits - length in networks
        for (family, length), networks in prefixes.items()
    )

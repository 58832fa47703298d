"""Probes of the paths to all peers: which peer is asked when, and what has come of it.

A probe is an ICMP echo request to the peer's tunnel address, so whatever implementation the peer
is, it answers. Only a peer that data is sent to is asked, as WireGuard is silent when idle.
Sans-IO: ``now`` is monotonic nanoseconds, random bytes come from a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from wgvx.dataplane.interface import DataPlane
from wgvx.drops import Reason
from wgvx.paths.search import SECOND, PathSearch
from wgvx.vxlan import icmp, ip

LOOK_EVERY = 10 * SECOND
"""How often peers are looked at, whether data is sent to them."""
STEP = SECOND
"""The same for those that are being asked."""
AT_ONCE = 64
"""Peers looked at at a time, or as many as are all of them in two minutes."""
PROBES_A_STEP = 32

_TOKEN = 20
"""Random bytes in a probe, its identifier and sequence number among them."""

Addresses = Callable[[int], tuple[bytes, bytes] | None]
"""Of a peer: a tunnel address of ours, and one of the peer's, packed; None where there is none."""


class Change(NamedTuple):
    """What a path carries now, and what it was thought to carry before; None: it is not known."""

    peer: int
    before: int
    now: int | None


@dataclass(slots=True)
class _Path:
    search: PathSearch
    counted: int
    """Bytes sent to the peer when it was last looked at."""
    told: int
    """What people know: ``top`` until they are told otherwise."""
    probed: int = 0
    """Bytes of the probes since then."""


class PathProbes:
    """Asks peers, and remembers. ``on`` says whether it does; ``top`` is the largest size of
    interest, in bytes of a tunnel packet.
    """

    def __init__(
        self, dataplane: DataPlane, addresses: Addresses, random: Callable[[int], bytes]
    ) -> None:
        self.on = False
        self.top = 0
        self._dataplane = dataplane
        self._addresses = addresses
        self._random = random
        self._paths: dict[int, _Path] = {}
        """By peer; those looked at longest ago come first."""
        self._active: set[int] = set()
        self._changes: list[Change] = []
        self._lowest = 0
        self._next_look: int | None = None
        self._next_step: int | None = None

    # --- peers -------------------------------------------------------------------------------

    def set(self, *, on: bool, top: int) -> None:
        """Begin anew where something is other than before."""
        if (on, top) == (self.on, self.top):
            return
        before = {peer: path.told for peer, path in self._paths.items()}
        self.on, self.top = on, top
        for peer, told in before.items():
            self.forget(peer)
            self.add(peer)
            if told != top:
                self._changes.append(Change(peer, told, None))
        self._next_step = None
        self._lowest = top

    def add(self, peer: int) -> None:
        """A new one. Nothing is known of its path."""
        sent = self._dataplane.peer_counters(peer).tx_bytes
        self._paths[peer] = _Path(PathSearch(self.top), sent, self.top)

    def forget(self, peer: int) -> None:
        """One that is no more, or whose path is another one now."""
        path = self._paths.pop(peer, None)
        if path is not None:
            self._dataplane.expect_echo(peer, b"", b"")
            if path.told == self._lowest < self.top:
                self._find_lowest()
        self._active.discard(peer)

    def mtu(self, peer: int) -> int | None:
        """The largest tunnel packet that the path is known to carry, in bytes; None: not known."""
        path = self._paths.get(peer)
        return path.search.mtu if path else None

    def lowest(self) -> int:
        """Of all paths that are known; ``top`` where none is."""
        return self._lowest

    def _find_lowest(self) -> None:
        self._lowest = min((path.told for path in self._paths.values()), default=self.top)

    def hint(self, peer: int) -> None:
        """Something says that the path has changed: ask as soon as data is sent to the peer."""
        if (path := self._paths.get(peer)) is not None and self.on:
            path.search.hint()
            self._active.add(peer)
            self._next_step = 0

    def known(self) -> frozenset[int]:
        """Peers whose paths are known."""
        return frozenset(peer for peer, path in self._paths.items() if path.search.mtu is not None)

    def take_changes(self) -> list[Change]:
        """Since the last call."""
        changes, self._changes = self._changes, []
        return changes

    # --- the clock ---------------------------------------------------------------------------

    def next_deadline(self, now: int) -> int | None:
        """When :meth:`expire` is next worth calling."""
        if not self.on or not self._paths:
            return None
        if self._next_look is None:
            self._next_look = now + LOOK_EVERY
        return self._next_look if self._next_step is None else min(self._next_look, self._next_step)

    def expire(self, now: int) -> None:
        """Look at peers, and send the probes that are due."""
        if not self.on:
            return
        due = []
        if self._next_step is not None and now >= self._next_step:
            self._next_step = None
            due = list(self._active)
        if self._next_look is not None and now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            due += self._look()
        for number, peer in enumerate(dict.fromkeys(due)):
            if number < PROBES_A_STEP:
                self._proceed(peer, now)
            else:
                self._active.add(peer)
        if self._active and self._next_step is None:
            self._next_step = now + STEP

    def echoed(self, peer: int, now: int) -> None:
        """The echo of the last probe came back."""
        path = self._paths.get(peer)
        if path is not None:
            path.search.answered(now)
            self._proceed(peer, now)

    def _look(self) -> list[int]:
        """Some peers, those that were not looked at for longest, to be asked if they are in use."""
        some = list(self._paths)[: max(AT_ONCE, -(-len(self._paths) // 12))]
        for peer in some:
            path = self._paths[peer] = self._paths.pop(peer)
            sent = self._dataplane.peer_counters(peer).tx_bytes
            path.search.used(max(0, sent - path.counted - path.probed))
            path.counted, path.probed = sent, 0
        return some

    def _proceed(self, peer: int, now: int) -> None:
        """The next probe to this peer, if one is due."""
        path = self._paths[peer]
        while (size := path.search.wanted(now)) is not None:
            refused = self._probe(peer, path, size, now)
            if refused is Reason.TOO_BIG:
                path.search.refused(now)
            elif refused is Reason.NO_ROUTE:
                path.search.give_up_for_long(now)
            elif refused is not None:
                path.search.give_up()
                break
        if path.search.is_active:
            self._active.add(peer)
            if self._next_step is None:
                self._next_step = now + STEP
        elif peer in self._active:
            self._active.discard(peer)
            self._dataplane.expect_echo(peer, b"", b"")
        carried = path.search.mtu or self.top
        if carried != path.told:
            self._changes.append(Change(peer, path.told, path.search.mtu))
            path.told = carried
            self._find_lowest()

    def _probe(self, peer: int, path: _Path, size: int, now: int) -> Reason | None:
        """Send one. Why not: TOO_BIG says something of the size, NO_ROUTE that the peer has no
        tunnel address, all else nothing."""
        addresses = self._addresses(peer)
        if addresses is None:
            return Reason.NO_ROUTE
        source, destination = addresses
        head = (20 if len(source) == 4 else 40) + 4
        rest = self._random(_TOKEN).ljust(size - head, b"\0")
        request = icmp.echo_request(source, destination, rest)
        packet = ip.build(source, destination, icmp.protocol_of(destination), request)
        self._dataplane.expect_echo(peer, destination, rest)
        refused = self._dataplane.send_probe(peer, packet, now)
        if refused is None:
            path.probed += size + 32
        return refused

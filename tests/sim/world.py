"""A world of engines under one virtual clock, and an underlay that treats datagrams badly.

A :class:`World` is a heap of events and the paths between stations, each of which is one engine
with one port. Nothing sleeps and nothing is drawn but from the world's one seeded generator, so the
same seed gives the same run, event by event.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.sim.key_watch import KeyWatch
from tests.support.engines import (
    MILLISECOND,
    NETWORK,
    SECOND,
    START,
    UNIX_EPOCH_OFFSET,
    VNI,
    mac_of,
    make_engine,
    private_key,
    underlay_endpoint,
)
from wgvx.config import NetworkConfig, PeerConfig
from wgvx.dataplane.interface import Burst, Datagram
from wgvx.drops import Reason
from wgvx.engine import Engine, PeerInfo
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.sessions import Endpoint
from wgvx.wireguard.tai64n import TimestampSource

_NEVER = 1 << 63

Remote = tuple[bytes, int, int]


@dataclass(frozen=True, slots=True)
class Path:
    """What the way through the underlay does to each datagram.

    ``loss`` and ``duplication`` are probabilities; every copy is delayed by itself, uniformly
    between the two nanosecond bounds of ``delay``, so a wide range reorders.
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay: tuple[int, int] = (10 * MILLISECOND, 10 * MILLISECOND)


CLEAN = Path()


class Nat(Protocol):
    """What :class:`tests.sim.nat.SymmetricNat` does for the world."""

    def outbound(self, inside: Endpoint, remote: Endpoint, now: int) -> Endpoint:
        """What ``remote`` sees as the source of a datagram from ``inside``."""

    def inbound(self, public: Endpoint, remote: Endpoint, now: int) -> Endpoint | None:
        """Who gets a datagram to ``public``; None: nobody."""

    def owns(self, public: Endpoint) -> bool:
        """Whether ``public`` is an address of this NAT."""


class Station:
    """An engine that has a port, a place on the underlay, and a wake-up call in the heap."""

    def __init__(self, world: World, number: int, engine: Engine, watch: KeyWatch) -> None:
        self.world = world
        self.number = number
        self.engine = engine
        self.watch = watch
        self.mac = mac_of(number)
        self.port = engine.add_port(VNI, self.mac) if VNI in engine.networks else 0
        self.endpoint = underlay_endpoint(number)
        self.nat: Nat | None = None
        self.is_running = True
        self.on_frame: Callable[[bytes], None] | None = None
        self.frames: list[bytes] = []
        """What left on the port, where no ``on_frame`` takes it."""
        self._wake = _NEVER
        self._settle(Burst())

    # --- configuration -------------------------------------------------------------------------

    def peer(self, other: Station) -> PeerInfo:
        """``other`` as this station knows it."""
        return self.engine.peers[dh_public(private_key(other.number))]

    def knows(self, other: Station) -> None:
        """Tell this station where ``other`` is."""
        self.engine.set_endpoint(self.peer(other), other.endpoint, self.world.now)
        self._settle(self.engine.receive([], self.world.now))

    def endpoint_of(self, other: Station) -> Endpoint | None:
        """Where this station takes ``other`` to be."""
        return self.engine.dataplane.endpoint(self.peer(other).id)

    def drops(self) -> dict[Reason, int]:
        """The drop counters that are not 0."""
        return {reason: n for reason, n in self.engine.dataplane.drops().items() if n}

    # --- what happens to it --------------------------------------------------------------------

    def transmit(self, frame: bytes) -> None:
        """A frame enters on the port."""
        self._settle(self.engine.transmit(self.port, [frame], self.world.now))

    def receive(self, datagram: Datagram) -> None:
        """A datagram arrives."""
        if self.is_running:
            self._settle(self.engine.receive([datagram], self.world.now))

    def move(self, endpoint: Endpoint) -> None:
        """Be somewhere else from now on."""
        self.world.vacate(self)
        self.endpoint = endpoint
        self.world.occupy(self)

    def stop(self) -> None:
        """Lose power: all state is gone, what is still on the way to us finds nobody."""
        self.is_running = False
        self.world.vacate(self)

    def _settle(self, burst: Burst) -> None:
        for _, frame in burst.frames:
            if self.on_frame is None:
                self.frames.append(frame)
            else:
                self.on_frame(frame)
        for datagram in burst.datagrams:
            self.world.post(self, datagram)
        due = self.engine.next_deadline(self.world.now)
        if due < self._wake:
            self._wake = due
            self.world.at(due, self._tick)

    def _tick(self) -> None:
        # An earlier wake-up call may have superseded this one, or the deadline moved on.
        if not self.is_running or self.world.now < self._wake:
            return
        self._wake = _NEVER
        burst = Burst()
        if self.engine.next_deadline(self.world.now) <= self.world.now:
            burst = self.engine.handle_timer(self.world.now)
            # Else a timer that fires without moving on would stop the clock.
            assert self.engine.next_deadline(self.world.now) > self.world.now
        self._settle(burst)


class World:
    """The clock, the underlay, and everybody on it."""

    def __init__(self, seed: int, path: Path = CLEAN) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = START
        """Monotonic nanoseconds."""
        self.unix_offset: defaultdict[int, int] = defaultdict(lambda: UNIX_EPOCH_OFFSET)
        """By station number: how far its wall clock is ahead of the monotonic one."""
        self.path = path
        self.nats: list[Nat] = []
        self.datagrams = 0
        self.duplicates = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self._stations: dict[Remote, Station] = {}
        self._made = 0

    # --- the clock -----------------------------------------------------------------------------

    def at(self, moment: int, act: Callable[[], None]) -> None:
        """Let ``act`` happen at ``moment``; what is due at the same moment keeps its order."""
        self._serial += 1
        heapq.heappush(self._events, (max(moment, self.now), self._serial, act))

    def run_until(self, moment: int) -> None:
        """Let everything happen that is due up to ``moment``."""
        events = self._events
        while events and events[0][0] <= moment:
            self.now, _, act = heapq.heappop(events)
            act()
        self.now = moment

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until(self.now + round(seconds * SECOND))

    # --- who is there --------------------------------------------------------------------------

    def add(
        self,
        number: int,
        peers: Sequence[PeerConfig],
        *,
        networks: Sequence[NetworkConfig] = (NETWORK,),
        forward: bool = False,
        timestamps: TimestampSource | None = None,
    ) -> Station:
        """A new station, or one that starts again after :meth:`Station.stop`."""
        watch = KeyWatch()
        self._made += 1
        engine = make_engine(
            number,
            peers,
            now=self.now,
            wall_clock=lambda: self.now + self.unix_offset[number],
            networks=networks,
            forward=forward,
            dataplane=watch,
            timestamps=timestamps,
            # A second life draws other keys and indices than the first.
            seed=f"{self.seed} {self._made}",
        )
        station = Station(self, number, engine, watch)
        self.occupy(station)
        return station

    def occupy(self, station: Station) -> None:
        """Let a station have what is sent to its endpoint."""
        taken = self._stations.setdefault(station.endpoint.remote(), station)
        assert taken is station, f"{station.endpoint} is taken"

    def vacate(self, station: Station) -> None:
        """Let nobody have what is sent to a station's endpoint."""
        del self._stations[station.endpoint.remote()]

    # --- the underlay --------------------------------------------------------------------------

    def post(self, origin: Station, datagram: Datagram) -> None:
        """Carry one datagram, or lose it, or carry it twice."""
        self.datagrams += 1
        source = origin.endpoint
        if origin.nat is not None:
            source = origin.nat.outbound(source, datagram.endpoint, self.now)
        path, draw = self.path, self.rng.random
        if draw() < path.loss:
            return
        self._carry(source, datagram)
        if draw() < path.duplication:
            self.duplicates += 1
            self._carry(source, datagram)

    def _carry(self, source: Endpoint, datagram: Datagram) -> None:
        shortest, longest = self.path.delay
        delay = shortest + int(self.rng.random() * (longest - shortest))
        self.at(self.now + delay, lambda: self._arrive(source, datagram))

    def _arrive(self, source: Endpoint, datagram: Datagram) -> None:
        target: Endpoint | None = datagram.endpoint
        for nat in self.nats:
            if nat.owns(datagram.endpoint):
                target = nat.inbound(datagram.endpoint, source, self.now)
        station = self._stations.get(target.remote()) if target is not None else None
        if station is not None:
            seen = source._replace(local=station.endpoint.ip)
            station.receive(Datagram(datagram.data, seen, datagram.tos))

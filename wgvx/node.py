"""A running node: the event loop around an :class:`~wgvx.engine.Engine`.

Owns sockets, ports, timers and names, and calls the data plane when one of them is ready. No packet
is looked at here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path

from wgvx import offloads
from wgvx.config import (
    AttachConfig,
    Config,
    EndpointName,
    NetworkConfig,
    StackAttach,
    TapAttach,
    mtu_warnings,
)
from wgvx.dataplane.interface import Burst, DataPlane, WorkerDataPlane
from wgvx.engine import Engine, PeerInfo
from wgvx.keylog import KeyLog
from wgvx.keys import public_key
from wgvx.mtu import overlay_mtu, tunnel_mtu
from wgvx.mtu_follower import MtuFollower, describe
from wgvx.ports.errors import PortError, PortGone
from wgvx.ports.make import make_port
from wgvx.ports.maker import Port, PortMaker
from wgvx.ports.stack import StackPort
from wgvx.privilege.confinement import Confinement, confine
from wgvx.privilege.errands import Errands, HelpedErrands
from wgvx.privilege.plan import make_plan, needs
from wgvx.pump import LoopPump, Pump, WorkerPump, clock
from wgvx.resolver import resolve
from wgvx.route import route_mtu
from wgvx.state import StampFile, state_directory
from wgvx.underlay import UdpSocket, UnderlayError, format_host
from wgvx.underlay.inward import InwardRoutes, own_interfaces
from wgvx.underlay.sources import SourceWatch
from wgvx.vxlan.neighbour import gratuitous_arp, unsolicited_advertisement
from wgvx.wireguard.sessions import News

log = logging.getLogger(__name__)

HANDSHAKE_SLICE = 2_000_000
"""Nanoseconds a loop turn may spend on handshake messages."""

NAME_PATIENCE = 2.0
"""Seconds that start-up waits for endpoint names: their routes have a say in the MTU."""

LOOKUPS_AT_ONCE = 16
"""Names looked up at a time: each takes a thread."""

NAME_RETRY = (1.0, 60.0)
"""First and longest wait in seconds before a name that has no address is looked up again."""


class Node:
    """One node from its configuration to its end.

    ``provision`` makes what makes the ports; None for a node that needs none. ``offloads`` are
    those that may be used, ``workers`` how many threads a data plane that has them is to run;
    ``key_log``, the caller's to close, is written every handshake's keys. ``passed`` are
    descriptors of TAPs that are there already, by name; they become the node's.
    ``errands`` are done for it by whoever that is; the node itself where left out.
    ``start`` may raise PortError or UnderlayError; ``close`` undoes whatever was done, also after a
    start that failed half-way.
    """

    def __init__(
        self,
        config: Config,
        dataplane: DataPlane,
        provision: Callable[[], PortMaker] | None,
        *,
        offloads: frozenset[str] = frozenset(offloads.NAMES),
        workers: int = 1,
        key_log: KeyLog | None = None,
        passed: Mapping[str, int] | None = None,
        errands: Errands | None = None,
    ) -> None:
        self.config = config
        self.dataplane = dataplane
        self.attachments: list[tuple[NetworkConfig, AttachConfig, int]] = []
        """(network, attachment, port)"""
        self.devices: dict[int, Port] = {}
        """By port."""
        self.started = 0
        """Unix seconds; 0 until packets are served."""
        self.tunnel_mtu = 0
        self.fwmark = config.node.fwmark
        self._provision = provision
        self._offloads = offloads
        self._workers = workers
        self._passed = passed or {}
        self._pump: Pump | None = None
        self._sockets: list[UdpSocket] = []
        self._sources: SourceWatch | None = None
        self._port_maker: PortMaker | None = None
        self._lookups: dict[int, asyncio.Task[None]] = {}
        self._lookup_slots = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = 0
        self._serving = False
        self._closed = False
        self._ended: asyncio.Future[int] | None = None
        self.errands = errands or Errands()
        self.confinement = Confinement()
        self._stamps = StampFile(
            state_directory(config.node.state_dir),
            public_key(config.node.private_key),
            self.errands.store,
        )
        self.engine = Engine(
            dataplane,
            config.node,
            timestamps=self._stamps.source,
            random=os.urandom,
            wall_clock=time.time_ns,
            key_log=key_log.write if key_log else None,
        )
        self._mtus = MtuFollower(self.engine, self.errands, lambda: self.fwmark)

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Prepare and serve."""
        await self.prepare()
        self.serve()

    async def prepare(self) -> None:
        """Bind and make the ports. Waits for no peer; no packet is read yet."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._sockets = self._open_sockets(self.config.node.listen_port)
        self._port_maker = self._provision() if self._provision else None
        self._pump = self._make_pump()
        self._pump.add_sockets(self._sockets)
        self.engine.configure(self.config, clock())
        for peer in self.config.peers:
            self.engine.peers[peer.public_key].endpoint_name = peer.endpoint
        await self._look_up_all()
        self._choose_mtu()
        self._make_ports()
        self._sources = self._watch_sources()

    def serve(self) -> None:
        """Begin with packets."""
        assert self._pump is not None
        self.started = int(time.time())
        self._pump.start()
        self._announce()
        self._settle(clock())

    def confine(self, steps: Set[str], files: Sequence[Path]) -> None:
        """Give up all that a node needs no more, between `prepare` and `serve`. ``files`` are its
        sockets and locks. Raises PortError."""
        assert isinstance(self.errands, HelpedErrands)
        plan = make_plan(self.config, self._stamps.path, files, self._workers, self.errands.manager)
        self.errands.seal(plan)
        self.confinement = confine(steps, needs(self.config))

    async def close(self) -> None:
        """Stop serving; remove what was created, give back what was adopted. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for device in self.devices.values():
            if isinstance(device, StackPort):
                await device.goodbye()
        if self._pump is not None:
            self._pump.stop()
        for device in self.devices.values():
            device.close()
        if self._sources is not None:
            await self._sources.close()
        for socket in self._sockets:
            socket.close()
        if self._port_maker is not None:
            self._port_maker.close()
        self._mtus.close()
        self._stamps.close()
        lookups = list(self._lookups.values())
        for task in lookups:
            task.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    def stop(self, status: int = 0) -> None:
        """Let :meth:`ended` return."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(status)

    async def ended(self) -> int:
        """The exit status, once the node is told to stop or cannot go on."""
        assert self._ended is not None
        return await self._ended

    @property
    def workers(self) -> int:
        """Threads of the data plane that pump; 0 where the event loop does."""
        return self._workers if isinstance(self._pump, WorkerPump) else 0

    @property
    def is_ending(self) -> bool:
        """Whether the node was told to stop, or cannot go on."""
        return self._ended is not None and self._ended.done()

    def _fail(self, error: Exception) -> None:
        """Say why the node cannot go on, once, and end it."""
        assert self._ended is not None
        if not self._ended.done():
            log.error("%s", error)
        assert self._pump is not None
        self._pump.stop()
        self.stop(1)

    # --- the underlay ------------------------------------------------------------------------

    @property
    def listen_port(self) -> int:
        """The UDP port bound."""
        return self._sockets[0].port

    def set_listen_port(self, port: int) -> None:
        """Move to another UDP port. Raises UnderlayError, and stays where it was."""
        if port == self.listen_port:
            return
        assert self._pump is not None
        old, self._sockets = self._sockets, self._open_sockets(port)
        self._pump.add_sockets(self._sockets)
        self._pump.remove_sockets(old)
        for socket in old:
            socket.close()

    def set_fwmark(self, fwmark: int) -> None:
        """Mark what is sent from now on. Raises UnderlayError without the privilege."""
        self.errands.set_fwmark(self._sockets, fwmark)
        self.fwmark = fwmark

    def rebind(self, port: int, fwmark: int) -> None:
        """Both of these, or, with an UnderlayError, neither."""
        before = self.fwmark
        if port == self.listen_port:
            self.set_fwmark(fwmark)
            return
        self.fwmark = fwmark
        try:
            self.set_listen_port(port)
        except UnderlayError:
            self.fwmark = before
            raise

    def _watch_sources(self) -> SourceWatch | None:
        try:
            return SourceWatch(
                self.dataplane,
                lambda: [info.id for info in self.engine.peers.values()],
                lambda: self.fwmark,
                self._inward_routes(),
            )
        except OSError as error:
            log.debug("routes are not watched: %s", error.strerror)
            return None

    def _inward_routes(self) -> InwardRoutes | None:
        here = {} if self.namespace(None) else own_interfaces(self.config.networks)
        return InwardRoutes(here, self._describe) if here else None

    def _describe(self, peer: int) -> str:
        infos = self.engine.peers.values()
        return next(describe(self.engine, info) for info in infos if info.id == peer)

    def _open_sockets(self, port: int) -> list[UdpSocket]:
        return self.errands.open_sockets(port, self.fwmark, self._workers)

    def _make_pump(self) -> Pump:
        """Workers need descriptors; where ports have none the event loop pumps."""
        maker = self._port_maker
        if isinstance(self.dataplane, WorkerDataPlane) and (maker is None or maker.descriptors):
            return WorkerPump(self.dataplane, self._guard, self._workers, self._offloads)
        return LoopPump(self.dataplane, self._guard)

    # --- ports -------------------------------------------------------------------------------

    def _choose_mtu(self) -> None:
        """From the file, or from the routes to the peers: the lowest counts."""
        routes = []
        for info in self.engine.peers.values():
            endpoint = self.dataplane.endpoint(info.id)
            if endpoint is not None:
                routes.append(route_mtu(format_host(endpoint), endpoint.port))
        self.tunnel_mtu = self.config.node.mtu or tunnel_mtu(m for m in routes if m is not None)
        self.engine.set_mtu(self.tunnel_mtu)
        warnings = (*self.config.warnings, *mtu_warnings(self.config, self.tunnel_mtu))
        for warning in dict.fromkeys(warnings):  # A fixed MTU's warnings are among the file's.
            log.warning("%s", warning)

    def _make_ports(self) -> None:
        assert self._pump is not None
        for network in self.config.networks:
            mtu = network.mtu or overlay_mtu(self.tunnel_mtu)
            for attach in network.attach:
                device = make_port(
                    network,
                    attach,
                    mtu,
                    maker=self._port_maker,
                    passed=self._passed,
                    queues=self._workers,
                    vnet_header=self._pump.vnet_header,
                    gso_max_size=self._pump.gso_max_size(mtu),
                    outside=self.errands,
                )
                port = self.engine.add_port(network.vni, device.mac, attach.name)
                self.attachments.append((network, attach, port))
                self.devices[port] = device
                self._pump.add_port(port, device)
                if isinstance(attach, TapAttach):
                    self._follow_with(network, attach, mtu)
                try:
                    device.open(partial(self._pump.refresh_port, port))
                except PortError as error:
                    where = f"{self.config.path}: network {network.vni}"
                    raise PortError(f"{where}: {error}") from error
        if self._port_maker is not None:
            self._port_maker.ready()

    def _follow_with(self, network: NetworkConfig, tap: TapAttach, mtu: int) -> None:
        """Let a TAP's MTU follow the paths'."""
        was_passed = tap.name in self._passed
        self._mtus.add_tap(
            network,
            tap.name,
            mtu,
            namespaces=None if was_passed else self.namespace(network.netns),
            why_not="it was passed in, and is not ours to change" if was_passed else None,
        )

    def _announce(self) -> None:
        """Let the far bridges and neighbour tables know at once where our addresses are now."""
        for network, attach, port in self.attachments:
            match attach:
                case TapAttach():
                    addresses = network.addresses
                case StackAttach():
                    addresses = attach.addresses
                case _:
                    continue  # A VM speaks for itself.
            frames = [
                gratuitous_arp(attach.mac, address.ip.packed)
                if address.version == 4
                else unsolicited_advertisement(attach.mac, address.ip.packed)
                for address in addresses
            ]
            now = clock()
            self._guard(partial(self._transmit, port, frames, now), now)

    def _transmit(self, port: int, frames: Sequence[bytes], now: int) -> Burst:
        burst = self.dataplane.transmit(port, frames, now)
        self.dataplane.emit(burst)
        return burst

    def namespace(self, netns: str | None) -> tuple[int, int] | None:
        """Descriptors of the rootless user and network namespace; None where not rootless.

        Raises PortError for a name that no network has.
        """
        return self._port_maker.namespace(netns) if self._port_maker else None

    # --- what becomes ready ------------------------------------------------------------------

    def _on_timer(self) -> None:
        self._timer = None
        now = clock()
        self._mtus.ask_routes(now)
        self.engine.expire(now)
        for info in self.engine.waiting():
            if info.endpoint_name is not None:
                self._look_up(info, failing=True)
        self._settle(now)

    def _serve_handshakes(self) -> None:
        self._serving = False
        if self._closed:
            return
        now = clock()
        until = now + HANDSHAKE_SLICE
        self.engine.serve_handshakes(now, lambda: clock() >= until)
        self._settle(now)

    def _guard(self, pump: Callable[[], Burst], now: int) -> None:
        try:
            burst = pump()
            self.engine.absorb(burst, now)
            self._settle(now)
        except PortGone as gone:
            self._fail(gone)

    def settle(self) -> None:
        """Put out what a change of configuration left to send, and look at the clock again."""
        self._settle(clock())

    def _settle(self, now: int) -> None:
        if self._closed:
            return
        while (burst := self.dataplane.flush()).is_asking:
            self.engine.absorb(burst, now)
        self._mtus.follow()
        for info, news in self.engine.take_news():
            self._tell(info, news)
        for message in self.engine.take_messages():
            log.warning("%s", message)
        if self.engine.has_handshakes() and not self._serving:
            self._serving = True
            self._loop.call_soon(self._serve_handshakes)
        self._arm(now)

    def _tell(self, info: PeerInfo, news: News) -> None:
        """One line a change for people; those that happen all the time only when asked for."""
        peer = describe(self.engine, info)
        if news is News.SILENT:
            name = self.config.name
            log.warning("%s does not answer; `wgvx show %s` counts what is dropped", peer, name)
        elif news is News.HEARD_AGAIN:
            log.info("%s answers", peer)
        else:
            log.debug("handshake with %s", peer)

    def _arm(self, now: int) -> None:
        deadline = self.engine.next_deadline(now)
        if self._timer is not None:
            if deadline == self._timer_deadline:
                return
            self._timer.cancel()
        self._timer_deadline = deadline
        self._timer = self._loop.call_later(max(0, deadline - now) / 1e9, self._on_timer)

    # --- endpoint names ----------------------------------------------------------------------

    async def _look_up_all(self) -> None:
        for info in self.engine.peers.values():
            if info.endpoint_name is not None:
                self._look_up(info, failing=False)
        if self._lookups:
            await asyncio.wait(self._lookups.values(), timeout=NAME_PATIENCE)

    def set_endpoint_name(self, info: PeerInfo, name: EndpointName | None) -> None:
        """Where a peer is said to be from now on; with None it stays where it is."""
        info.endpoint_name, info.heard_at = name, None
        if (task := self._lookups.pop(info.id, None)) is not None:
            task.cancel()
        if name is not None:
            self._look_up(info, failing=False)

    def _look_up(self, info: PeerInfo, *, failing: bool) -> None:
        if info.id not in self._lookups:
            task = self._loop.create_task(self._keep_looking(info, failing))
            self._lookups[info.id] = task
            task.add_done_callback(partial(self._looked_up, info.id))

    def _looked_up(self, peer: int, task: asyncio.Task[None]) -> None:
        if self._lookups.get(peer) is task:
            del self._lookups[peer]

    async def _keep_looking(self, info: PeerInfo, failing: bool) -> None:
        """Until an address is found, or while the peer has none; the next failing handshake asks
        again."""
        wait, longest = NAME_RETRY
        while (name := info.endpoint_name) is not None:
            families = frozenset(socket.address_length for socket in self._sockets)
            async with self._lookup_slots:
                endpoint = await resolve(name, families, self.errands.look_up)
            if self.engine.peers.get(info.public_key) is not info:
                return
            if info.endpoint_name != name:
                continue  # `wg set` gave it an address meanwhile.
            if endpoint is not None:
                now = clock()
                if failing:
                    self.engine.try_endpoint(info, endpoint, now)
                else:
                    self.engine.set_endpoint(info, endpoint, now)
                if self._sources is not None:
                    self._sources.look()
                self._settle(now)
                return
            if self.dataplane.endpoint(info.id) is not None:
                return
            log.warning("endpoint %s has no address yet; trying on", name)
            await asyncio.sleep(wait)
            wait = min(2 * wait, longest)

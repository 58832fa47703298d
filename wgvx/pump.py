"""What moves packets between a node's descriptors and its data plane.

Either the event loop does, a burst whenever a descriptor is readable, or the data plane's own
workers do, and the loop only hears what is left for Python.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

from wgvx.dataplane.interface import Burst, DataPlane, WorkerDataPlane
from wgvx.mtu import largest_segment
from wgvx.ports.maker import Port
from wgvx.ports.tap import TapPort
from wgvx.underlay import UdpSocket, gso_segments

log = logging.getLogger(__name__)

BURST = 64
"""Packets taken from one descriptor before the loop looks at the others."""

Guard = Callable[[Callable[[], Burst], int], None]
"""Runs what pumps at a time, acts on what comes of it, and on a port that is gone."""


def clock() -> int:
    """Monotonic nanoseconds that go on while the machine sleeps, as sessions age."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Pump(ABC):
    """Sockets may come and go at any time, and so may the descriptors of a port."""

    vnet_header = False
    """Whether it wants frames of TAPs behind virtio-net headers."""

    def gso_max_size(self, mtu: int) -> int | None:  # noqa: ARG002 - for those that override it
        """What to fit segments of a TAP of this MTU to, None for nothing."""
        return None

    @abstractmethod
    def add_sockets(self, sockets: Sequence[UdpSocket]) -> None:
        """Receive from these, and send to them."""

    @abstractmethod
    def remove_sockets(self, sockets: Sequence[UdpSocket]) -> None:
        """Receive no more from these, which are about to be closed."""

    @abstractmethod
    def add_port(self, port: int, device: Port) -> None:
        """The device behind a port of the data plane."""

    @abstractmethod
    def refresh_port(self, port: int) -> None:
        """The descriptors of its device have changed, or one of them is about to be closed."""

    @abstractmethod
    def start(self) -> None:
        """Begin to read."""

    @abstractmethod
    def stop(self) -> None:
        """Read no more from anything. Idempotent."""


class LoopPump(Pump):
    """The event loop calls the data plane for every burst."""

    def __init__(self, dataplane: DataPlane, guard: Guard) -> None:
        self._loop = asyncio.get_running_loop()
        self._dataplane = dataplane
        self._guard = guard
        self._readers: dict[int, Callable[[], None]] = {}
        self._reads = False
        self._devices: dict[int, tuple[Port, int]] = {}
        """With the descriptor that is read, -1 for none."""

    def add_sockets(self, sockets: Sequence[UdpSocket]) -> None:
        for socket in sockets:
            self._dataplane.connect_socket(socket.address_length, socket)
            self._read(socket.fileno(), partial(self._on_socket, socket))

    def remove_sockets(self, sockets: Sequence[UdpSocket]) -> None:
        for socket in sockets:
            self._forget(socket.fileno())

    def add_port(self, port: int, device: Port) -> None:
        self._devices[port] = device, -1
        self.refresh_port(port)

    def refresh_port(self, port: int) -> None:
        device, before = self._devices[port]
        descriptor = device.fileno()
        self._devices[port] = device, descriptor
        self._dataplane.connect_port(port, device if descriptor >= 0 else None)
        if before >= 0:
            self._forget(before)
        if descriptor >= 0:
            self._read(descriptor, partial(self._on_port, port))

    def start(self) -> None:
        self._reads = True
        for descriptor, callback in self._readers.items():
            self._loop.add_reader(descriptor, callback)

    def stop(self) -> None:
        for descriptor in list(self._readers):
            self._forget(descriptor)

    def _read(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._readers[descriptor] = callback
        if self._reads:
            self._loop.add_reader(descriptor, callback)

    def _forget(self, descriptor: int) -> None:
        if self._readers.pop(descriptor, None) is not None and self._reads:
            self._loop.remove_reader(descriptor)

    def _on_socket(self, socket: UdpSocket) -> None:
        now = clock()
        self._guard(lambda: self._dataplane.pump_socket(socket, now, BURST), now)

    def _on_port(self, port: int) -> None:
        now = clock()
        self._guard(lambda: self._dataplane.pump_port(port, now, BURST), now)


class WorkerPump(Pump):
    """Threads of the data plane do, each with its own sockets and TAP queues."""

    vnet_header = True

    def __init__(
        self, dataplane: WorkerDataPlane, guard: Guard, workers: int, offloads: frozenset[str]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._dataplane = dataplane
        self._guard = guard
        self._workers = workers
        self._offloads = offloads
        self._devices: dict[int, Port] = {}
        self._offers: dict[int, frozenset[str]] = {}
        """What TAPs agreed to hand over, of tso and uso."""
        self._sockets: dict[tuple[int, int], UdpSocket] = {}
        """By worker and address length."""
        self._segments = gso_segments() if "gso" in offloads else 1
        dataplane.use_gso(self._segments)
        dataplane.offloads = frozenset({"gso"} if self._segments > 1 else ())
        self._notice = -1

    def gso_max_size(self, mtu: int) -> int | None:
        return largest_segment(mtu, self._segments) if self._segments > 1 else None

    def add_sockets(self, sockets: Sequence[UdpSocket]) -> None:
        for socket in sockets:
            # What is sent before the workers start is Python's to send.
            if socket.worker == 1:
                self._dataplane.connect_socket(socket.address_length, socket)
            if "gro" in self._offloads and socket.join_received():
                self._dataplane.offloads |= {"gro"}
            self._sockets[socket.worker, socket.address_length] = socket
            self._dataplane.attach_socket(socket.worker, socket.address_length, socket.fileno())

    def remove_sockets(self, sockets: Sequence[UdpSocket]) -> None:
        for socket in sockets:
            place = socket.worker, socket.address_length
            if self._sockets.get(place) is socket:  # A host may have lost a family: no successor.
                del self._sockets[place]
                self._dataplane.attach_socket(*place, -1)

    def add_port(self, port: int, device: Port) -> None:
        self._devices[port] = device
        if isinstance(device, TapPort):
            self._offers[port] = device.set_offload(
                "tso" in self._offloads, "uso" in self._offloads
            )
            self._dataplane.offloads |= self._offers[port]
            if len(device.fds) < self._workers:
                log.warning(
                    "TAP %s was made with one queue: one of %d workers reads it; with "
                    "`ip tuntap add %s mode tap multi_queue` all would",
                    *(device.name, self._workers, device.name),
                )
        self.refresh_port(port)

    def refresh_port(self, port: int) -> None:
        device = self._devices[port]
        offers = self._offers.get(port, frozenset())
        self._dataplane.detach_port(port)
        for worker in range(1, self._workers + 1) if device.fds else ():
            # It may have fewer queues than there are workers.
            descriptor = device.fds[min(worker, len(device.fds)) - 1]
            self._dataplane.attach_port(worker, port, descriptor, device.framing, offers)

    def start(self) -> None:
        self._notice = self._dataplane.start(self._workers)
        self._loop.add_reader(self._notice, self._on_notice)

    def stop(self) -> None:
        if self._notice >= 0:
            self._loop.remove_reader(self._notice)
            self._notice = -1
        self._dataplane.stop()

    def _on_notice(self) -> None:
        now = clock()
        self._guard(lambda: self._collect(now), now)
        if "gso" in self._dataplane.offloads and not self._dataplane.gso_works():
            self._dataplane.offloads -= {"gso"}
            log.warning("the system refuses UDP_SEGMENT: each datagram is sent by itself from now")

    def _collect(self, now: int) -> Burst:
        os.eventfd_read(self._notice)
        burst = self._dataplane.collect(now)
        while (gone := self._dataplane.take_gone_port()) is not None:
            port, code = gone
            self._devices[port].lost(code)
        return burst

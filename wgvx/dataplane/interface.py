"""The data plane: what happens to every packet, behind one interface.

Two levels. :meth:`DataPlane.receive` and :meth:`DataPlane.transmit` work on buffers and do no IO;
``pump_socket`` and ``pump_port`` are the same fused with IO, written here in terms of the first
level and overridden where an implementation does better. A burst has the effect of its packets one
by one, in order, and a call returns a bounded list of what it asks of Python.

The data plane owns all that a packet changes: key slots, send counters, replay windows, endpoints,
byte counters, staged packets, allowed IPs, forwarding databases and four stamps per peer. Peers and
ports are small integers given by the caller and never used twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from wgvx.dataplane.captured import Capture, Captured
from wgvx.drops import Reason
from wgvx.vxlan.fdb import Local, Remote, Row
from wgvx.vxlan.limits import UNLIMITED, Limits
from wgvx.vxlan.moves import Move
from wgvx.vxlan.mss import UNCLAMPED, Mss
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import NOTHING, Watch
from wgvx.wireguard.allowed_ips import Prefix
from wgvx.wireguard.sessions import Endpoint, Event, HandshakeMessage, Sessions

REPLICATION = 4
"""How many datagrams for each frame of its budget a port may fill before others have their turn."""


class Datagram(NamedTuple):
    """A UDP payload on the underlay. ``tos`` is the outer TOS or traffic class byte."""

    data: bytes
    endpoint: Endpoint
    tos: int = 0


class Framing(Enum):
    """How frames stand in a port's descriptor."""

    VNET = 0
    """Each a message, behind a virtio-net header of 10 bytes; large and unfinished perhaps."""
    BARE = 1
    """Each a message."""
    STREAM = 2
    """In a stream of bytes, each behind its length in four, network order."""


class FramePort(Protocol):
    """Where frames enter and leave: a TAP, a VM's socket, a memory port."""

    def read(self) -> bytes | None:
        """The next frame; None when there is none now."""

    def write(self, frame: bytes) -> bool:
        """Deliver a frame; False when it cannot be taken now."""


class DatagramSocket(Protocol):
    """The underlay: one UDP socket of one family."""

    def receive(self, budget: int) -> list[Datagram]:
        """At most ``budget`` datagrams, as many as are there."""

    def send(self, datagram: Datagram) -> Reason | None:
        """Send one; the reason where it was not sent."""

    def send_whole(self, datagram: Datagram) -> Reason | None:
        """Send one that nobody may fragment; TOO_BIG where our own link would have to."""


class Watched(NamedTuple):
    """A frame that its network watches. It goes nowhere but by :meth:`DataPlane.forward_frame` and
    :meth:`DataPlane.send_frame`.
    """

    vni: int
    origin: Local | Remote
    frame: bytes


@dataclass(slots=True)
class Burst:
    """What came of a call: packets to put out, and what is asked of the handshake side."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    """(port, frame)"""
    datagrams: list[Datagram] = field(default_factory=list)
    events: dict[int, Event] = field(default_factory=dict)
    """Per peer."""
    handshakes: list[HandshakeMessage] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    echoes: list[int] = field(default_factory=list)
    """Peers that sent back the echo expected of them."""

    @property
    def is_asking(self) -> bool:
        """Whether it holds more than packets to put out."""
        return bool(self.events or self.handshakes or self.watched or self.echoes)

    def add(self, later: Burst) -> None:
        """Let this burst hold what a later one does, too."""
        self.frames += later.frames
        self.datagrams += later.datagrams
        self.handshakes += later.handshakes
        self.watched += later.watched
        self.echoes += later.echoes
        for peer, events in later.events.items():
            self.events[peer] = self.events.get(peer, Event(0)) | events


@dataclass(frozen=True, slots=True)
class Network:
    """A VNI's settings. ``ageing`` is in nanoseconds; ``accept`` None accepts any peer's VTEP; the
    frames in ``watch`` are handed to Python in place of forwarding them; TCP through the tunnel is
    held to ``mss``.
    """

    vni: int
    udp_port: int = 4789
    learning: bool = True
    ageing: int = 300_000_000_000
    max_entries: int = 65536
    accept: tuple[Prefix, ...] | None = None
    sticky: bool = False
    move_limit: int = 0
    limits: Limits = UNLIMITED
    watch: Watch = NOTHING
    mss: Mss = UNCLAMPED


class PeerCounters(NamedTuple):
    """UDP payload bytes, handshakes included."""

    rx_bytes: int
    tx_bytes: int


class NetworkCounters(NamedTuple):
    """Frames that came from, and went to, other VTEPs; rows of the FDB but the flood list; moves of
    stations.
    """

    rx_frames: int
    tx_frames: int
    fdb_entries: int
    moves: int


class DataPlane(Sessions, ABC):
    """The interface. With the methods of ``Sessions`` it serves the handshake side."""

    name: str
    """``reference`` or ``native``."""
    aead: str
    """The library that seals and opens."""
    offloads: frozenset[str] = frozenset()
    """Of tso, uso, gso, gro: those in use."""

    def __init__(self) -> None:
        self._ports: dict[int, FramePort] = {}
        self._sockets: dict[int, DatagramSocket] = {}

    # --- first level: buffers ----------------------------------------------------------------

    @abstractmethod
    def receive(self, datagrams: Sequence[Datagram], now: int) -> Burst:
        """Datagrams from the underlay."""

    @abstractmethod
    def transmit(self, port: int, frames: Sequence[bytes], now: int) -> Burst:
        """Frames that entered on a port."""

    @abstractmethod
    def take(self) -> Burst:
        """What calls of :class:`Sessions` have left to be put out since the last call."""

    # --- second level: fused with IO ---------------------------------------------------------

    def connect_port(self, port: int, device: FramePort | None) -> None:
        """The device behind a port of :meth:`add_port`; None for none now."""
        if device is None:
            self._ports.pop(port, None)
        else:
            self._ports[port] = device

    def connect_socket(self, address_length: int, socket: DatagramSocket | None) -> None:
        """The socket for endpoints whose address is 4 or 16 bytes long; None for none."""
        if socket is None:
            self._sockets.pop(address_length, None)
        else:
            self._sockets[address_length] = socket

    def pump_socket(self, socket: DatagramSocket, now: int, budget: int) -> Burst:
        """Receive and process at most ``budget`` datagrams; emits what comes of them."""
        burst = self.receive(socket.receive(budget), now)
        self.emit(burst)
        return burst

    def pump_port(self, port: int, now: int, budget: int) -> Burst:
        """Read and process at most ``budget`` frames; emits what comes of them.

        Stops early once they were replicated into many datagrams: a turn is short however many
        VTEPs a broadcast goes to.
        """
        whole = Burst()
        device = self._ports[port]
        sent = 0
        for _ in range(budget):
            frame = device.read()
            if frame is None:
                break
            burst = self.transmit(port, (frame,), now)
            sent += len(burst.datagrams)
            self.emit(burst)
            whole.add(burst)
            if sent >= budget * REPLICATION:
                break
        return whole

    def flush(self) -> Burst:
        """Emit what :meth:`take` gives."""
        burst = self.take()
        self.emit(burst)
        return burst

    def emit(self, burst: Burst) -> None:
        """Put out what a burst holds; what a port or socket does not take is counted."""
        for port, frame in burst.frames:
            device = self._ports.get(port)
            if device is None:
                self.count(Reason.PORT_DOWN)
            elif not device.write(frame):
                self.count(Reason.PORT_FULL)
        for datagram in burst.datagrams:
            socket = self._sockets.get(len(datagram.endpoint.ip))
            refused = socket.send(datagram) if socket else Reason.UNREACHABLE
            if refused is not None:
                self.count(refused)
        burst.frames.clear()
        burst.datagrams.clear()

    # --- the node ----------------------------------------------------------------------------

    @abstractmethod
    def set_public_key(self, public_key: bytes | None) -> None:
        """Our own, which mac1 of what we are sent is made with; None while we have none."""

    @abstractmethod
    def set_addresses(self, addresses: Iterable[bytes]) -> None:
        """Our tunnel addresses. Tunnel packets leave from the first one of the remote's family."""

    @abstractmethod
    def set_mtu(self, mtu: int) -> None:
        """The tunnel MTU in bytes."""

    @abstractmethod
    def set_forward(self, forward: bool) -> None:
        """Whether tunnel packets for others are relayed between peers."""

    @abstractmethod
    def drops(self) -> dict[Reason, int]:
        """Every reason with its count, from the start."""

    @abstractmethod
    def age(self, now: int) -> None:
        """Take out what is too old: called every ten seconds or so, it only frees memory."""

    @abstractmethod
    def set_capture(self, kinds: Capture, snaplen: int) -> None:
        """Copy what passes from now on, of each no more than ``snaplen`` bytes."""

    @abstractmethod
    def take_captured(self) -> tuple[list[Captured], int]:
        """What was copied since the last call, the oldest first, and how many there was no room
        for: CAPTURE_ROOM bytes a thread.
        """

    # --- peers -------------------------------------------------------------------------------

    @abstractmethod
    def add_peer(self, peer: int) -> None:
        """A new peer, without endpoint, prefixes or keys."""

    @abstractmethod
    def remove_peer(self, peer: int) -> None:
        """Forget a peer with all that is its own."""

    @abstractmethod
    def set_endpoint(self, peer: int, endpoint: Endpoint | None) -> None:
        """Where the peer is said to be, until it is heard from elsewhere."""

    @abstractmethod
    def endpoint(self, peer: int) -> Endpoint | None:
        """Where the peer was last heard, or is said to be."""

    @abstractmethod
    def send_probe(self, peer: int, packet: bytes, now: int) -> Reason | None:
        """A tunnel packet of our own, of a size that padding leaves as it is, in a datagram that
        nobody may fragment. None where it was sent; TOO_BIG where our own link does not take it;
        NO_ENDPOINT without an endpoint or a session. It is not counted as dropped.
        """

    def _send_whole(self, datagram: Datagram) -> Reason | None:
        socket = self._sockets.get(len(datagram.endpoint.ip))
        return socket.send_whole(datagram) if socket else Reason.UNREACHABLE

    @abstractmethod
    def expect_echo(self, peer: int, source: bytes, rest: bytes) -> None:
        """An echo reply from a tunnel address of the peer that brings back ``rest`` (identifier,
        sequence number and data): a burst tells of it, once. One a peer; empty: none any more.
        """

    @abstractmethod
    def give_up_local_address(self, peer: int, endpoint: Endpoint) -> None:
        """Packets to this peer leave by another interface than ``endpoint`` was heard on.

        Where it is the peer's endpoint still, the routing table chooses our address instead, as the
        kernel's WireGuard has it before each send. What the peer sends to that address is not
        answered from it: until something was sent, by which it hears of the other one; and where
        it arrives on that interface, until :meth:`allow_local_address`.
        """

    @abstractmethod
    def allow_local_address(self, peer: int) -> None:
        """What was given up last is the way again."""

    @abstractmethod
    def add_allowed_ip(self, peer: int, prefix: Prefix) -> None:
        """Give a prefix (host bits zero) to a peer; whoever had it loses it."""

    @abstractmethod
    def remove_allowed_ip(self, peer: int, prefix: Prefix) -> bool:
        """Take a prefix from a peer; False when it was not the peer's."""

    @abstractmethod
    def clear_allowed_ips(self, peer: int) -> None:
        """Take all prefixes from a peer."""

    @abstractmethod
    def allowed_ips(self, peer: int) -> list[Prefix]:
        """The peer's prefixes in the order they were given."""

    @abstractmethod
    def route(self, address: bytes) -> int | None:
        """The peer that a packed tunnel address leads to."""

    @abstractmethod
    def peer_counters(self, peer: int) -> PeerCounters:
        """Bytes received from and sent to a peer."""

    # --- networks ----------------------------------------------------------------------------

    @abstractmethod
    def add_network(self, network: Network) -> None:
        """A new bridge domain without ports or entries."""

    @abstractmethod
    def set_network(self, network: Network) -> None:
        """Other settings for a network that is there, but its UDP port. What was learned stays."""

    @abstractmethod
    def add_port(self, vni: int, port: int, mac: bytes | None) -> None:
        """An attachment; ``mac`` is its device's own, a permanent local entry."""

    @abstractmethod
    def set_blocked(self, port: int, blocked: bool) -> None:
        """Let nothing in from a port, nor out to it, but loop probes; or again."""

    @abstractmethod
    def forget_port(self, port: int) -> None:
        """Forget the stations that were learned on a port."""

    @abstractmethod
    def set_group(self, vni: int, mac: bytes, members: Forwarding | None) -> None:
        """Send frames to a group to these alone; with None everywhere, as at first. The zero group
        of a family (wgvx/vxlan/ethernet.py): those to its groups that nothing was said of. Groups
        that hosts do not join (:func:`~wgvx.vxlan.ethernet.is_joined`), and what is behind a VLAN
        tag, go everywhere all the same.
        """

    @abstractmethod
    def forward_frame(
        self, vni: int, origin: Local | Remote, frame: bytes, now: int, to: Forwarding | None = None
    ) -> bool:
        """A watched frame goes on from where it was; if it would go everywhere, then to such places
        alone as ``to`` has, where that is given. What comes of it is for :meth:`take`. False where
        a storm limit, or anything else that is counted for the whole frame, dropped it.
        """

    @abstractmethod
    def send_frame(self, vni: int, to: Forwarding, frame: bytes, now: int) -> None:
        """A frame goes to these places alone, blocked ports among them."""

    @abstractmethod
    def network_counters(self, vni: int) -> NetworkCounters:
        """Frames and FDB rows of a network."""

    @abstractmethod
    def fdb_add(self, vni: int, mac: bytes, vtep: bytes) -> bytes | None:
        """A static entry; returns the VTEP that it replaces, if another. A group MAC and the flood
        list (all zeros) take several VTEPs. ValueError for a port's own MAC.
        """

    @abstractmethod
    def fdb_delete(self, vni: int, mac: bytes, vtep: bytes | None = None) -> bool:
        """Remove an entry, or one VTEP of it; False when there is none such."""

    @abstractmethod
    def fdb_flush(self, vni: int, vtep: bytes | None = None, *, static: bool = False) -> int:
        """Remove learned entries (of one VTEP), static ones too if told; returns how many."""

    @abstractmethod
    def fdb_flood(self, vni: int) -> tuple[bytes, ...]:
        """The VTEPs of the flood list."""

    @abstractmethod
    def fdb_rows(self, vni: int, now: int) -> list[Row]:
        """The whole table, the flood list's rows with it."""

    @abstractmethod
    def fdb_moves(self, vni: int) -> list[Move]:
        """The stations that moved last; whoever moved last comes last."""


class WorkerDataPlane(DataPlane):
    """One that can also pump by itself: threads read TAPs and sockets, and Python is told of what
    only it can do. Workers count from 1.
    """

    @abstractmethod
    def attach_socket(self, worker: int, address_length: int, descriptor: int) -> None:
        """The socket of a family that a worker receives from and sends to, -1 for none. May be
        called again while workers run; the descriptor stays the caller's.
        """

    @abstractmethod
    def attach_port(
        self,
        worker: int,
        port: int,
        descriptor: int,
        framing: Framing,
        offloads: frozenset[str] = frozenset(),
    ) -> None:
        """A descriptor of a port, for this worker; one may be given to several of them. It stays
        the caller's. ``offloads``, of tso and uso, are those that a TAP takes.
        """

    @abstractmethod
    def detach_port(self, port: int) -> None:
        """No worker reads the port's descriptors or writes to them any more."""

    @abstractmethod
    def use_gso(self, segments: int) -> None:
        """Let one send (UDP_SEGMENT) carry up to so many datagrams, 1 for no such sends."""

    @abstractmethod
    def gso_works(self) -> bool:
        """Whether such sends are used: no more once the system refused one for good."""

    @abstractmethod
    def start(self, workers: int) -> int:
        """Start the workers; returns an eventfd that is readable while :meth:`collect` has
        something to give; to read it is the caller's. OSError where threads cannot be had.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the workers. Idempotent."""

    @abstractmethod
    def collect(self, now: int) -> Burst:
        """What workers left for Python since the last call: no packets, for those are out."""

    @abstractmethod
    def take_gone_port(self) -> tuple[int, int] | None:
        """A port whose descriptors turned out to be of no use, and the errno that told; each is
        told once for what was attached.
        """

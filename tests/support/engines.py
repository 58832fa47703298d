"""Engines that talk to each other over an ideal underlay, under one virtual clock.

:func:`make_engine` makes a single one; a :class:`Wire` holds :class:`Node`\\ s, carries what they
send until all is quiet, and fires their timers as its clock moves on. Everything is deterministic.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import NamedTuple

from wgvx.config import Config, NetworkConfig, NodeConfig, PeerConfig
from wgvx.dataplane.interface import Burst, Datagram, DataPlane
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.drops import Reason
from wgvx.engine import Engine, PeerInfo
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.sessions import Endpoint, HandshakeKeys
from wgvx.wireguard.tai64n import TimestampSource

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
START = 1_000 * SECOND
"""Where the monotonic clock of a wire begins: any time but 0."""

UNIX_EPOCH_OFFSET = 1_700_000_000 * SECOND
"""The wall clock is that far ahead of the monotonic one."""

VNI = 42
ETHERTYPE = 0x88B5
"""IEEE 802, "local experimental": no layer looks into such a frame."""


# --- the parts of a configuration ---------------------------------------------------------------


def private_key(number: int) -> bytes:
    """The private key of node ``number``, always the same."""
    return random.Random(f"private key {number}").randbytes(32)


def mac_of(number: int) -> bytes:
    """The MAC of node ``number``'s port: 02:00:00:00:hi:lo."""
    return b"\x02\0\0\0" + number.to_bytes(2, "big")


def tunnel_address(number: int) -> str:
    """The tunnel address of node ``number``, as text."""
    return f"10.254.{number >> 8}.{number & 0xFF}"


def underlay_endpoint(number: int, port: int = 51820) -> Endpoint:
    """Where node ``number`` is on the underlay."""
    return Endpoint(b"\xc6\x12" + number.to_bytes(2, "big"), port)


def peer_config(
    number: int,
    *,
    allowed_ips: Iterable[str] | None = None,
    preshared_key: bytes | None = None,
    persistent_keepalive: int = 0,
) -> PeerConfig:
    """Node ``number`` as somebody's peer; by default with its own tunnel address."""
    prefixes = [f"{tunnel_address(number)}/32"] if allowed_ips is None else allowed_ips
    return PeerConfig(
        public_key=dh_public(private_key(number)),
        name=None,
        preshared_key=preshared_key,
        endpoint=None,
        allowed_ips=tuple(ip_network(prefix) for prefix in prefixes),
        persistent_keepalive=persistent_keepalive,
    )


NETWORK = NetworkConfig(
    vni=VNI,
    attach=(),
    addresses=(),
    mtu=None,
    bridge=None,
    netns=None,
    udp_port=4789,
    remotes=None,
    accept=None,
    fdb=(),
    learning=True,
    ageing=300,
    max_entries=65536,
)
"""One VNI with the defaults of a file; ``dataclasses.replace`` makes others."""


def make_engine(
    number: int,
    peers: Sequence[PeerConfig],
    *,
    now: int,
    wall_clock: Callable[[], int],
    networks: Sequence[NetworkConfig] = (NETWORK,),
    addresses: Sequence[str] | None = None,
    forward: bool = False,
    dataplane: DataPlane | None = None,
    timestamps: TimestampSource | None = None,
    key_log: Callable[[HandshakeKeys], None] | None = None,
    seed: object = 0,
) -> Engine:
    """The engine of node ``number``, configured. Ports and endpoints are the caller's to add."""
    texts = [f"{tunnel_address(number)}/16"] if addresses is None else addresses
    node = NodeConfig(
        private_key=private_key(number),
        listen_port=51820,
        addresses=tuple(ip_interface(text) for text in texts),
        mtu=None,
        fwmark=0,
        forward=forward,
        state_dir=None,
    )
    engine = Engine(
        ReferenceDataPlane() if dataplane is None else dataplane,
        node,
        timestamps=timestamps or TimestampSource(0, _stored_nowhere),
        random=random.Random(f"{seed} {number}").randbytes,
        wall_clock=wall_clock,
        key_log=key_log,
    )
    config = Config("test", Path("/nowhere"), node, tuple(peers), tuple(networks), ())
    engine.configure(config, now)
    return engine


def _stored_nowhere(bound: int) -> None:
    """A state file that forgets."""
    assert bound > 0


def ethernet(destination: bytes, source: bytes, payload: bytes = b"") -> bytes:
    """A frame of the experimental EtherType, padded to Ethernet's minimum of 60 bytes."""
    return (destination + source + ETHERTYPE.to_bytes(2, "big") + payload).ljust(60, b"\0")


# --- nodes on a wire ----------------------------------------------------------------------------


class Sent(NamedTuple):
    """One datagram that a node sent."""

    at: int
    """Nanoseconds."""
    sender: Node
    datagram: Datagram

    @property
    def data(self) -> bytes:
        """The UDP payload."""
        return self.datagram.data

    @property
    def kind(self) -> int:
        """The WireGuard message type."""
        return self.datagram.data[0]


class Node:
    """An engine with one port in VNI 42 and a place on a wire."""

    def __init__(self, wire: Wire, number: int, engine: Engine) -> None:
        self.wire = wire
        self.number = number
        self.engine = engine
        self.mac = mac_of(number)
        self.port = engine.add_port(VNI, self.mac) if VNI in engine.networks else 0
        self.endpoint = underlay_endpoint(number)
        """Where it sends from and is reached; assign another one to move it."""
        self.public_key = dh_public(private_key(number))
        self.frames: list[bytes] = []
        """What left on its ports, oldest first."""

    def peer(self, other: Node) -> PeerInfo:
        """``other`` as this node knows it."""
        return self.engine.peers[other.public_key]

    def knows(self, other: Node) -> None:
        """Tell this node where ``other`` is."""
        self.engine.set_endpoint(self.peer(other), other.endpoint, self.wire.now)
        self.wire.carry(self, self.engine.transmit(self.port, [], self.wire.now))

    def send(self, other: Node, payload: bytes = b"") -> bytes:
        """Send a frame to ``other``'s MAC and let the wire carry what comes of it."""
        frame = ethernet(other.mac, self.mac, payload)
        self.wire.carry(self, self.engine.transmit(self.port, [frame], self.wire.now))
        return frame

    def initiate(self, other: Node) -> None:
        """Ask for a handshake with ``other`` without anything to send."""
        self.engine.device.initiate(self.peer(other).id, self.wire.now)
        self.wire.carry(self, self.engine.transmit(self.port, [], self.wire.now))

    def hear(self, data: bytes, source: Endpoint, tos: int = 0) -> Burst:
        """Take in one datagram by hand; the answer is returned, not carried."""
        return self.engine.receive([Datagram(data, source, tos)], self.wire.now)

    def drops(self) -> dict[Reason, int]:
        """The drop counters that are not 0."""
        return {reason: n for reason, n in self.engine.dataplane.drops().items() if n}


def _loses_none(_: Sent) -> bool:
    return False


def _loses_all(_: Sent) -> bool:
    return True


class Wire:
    """The underlay and the clock. ``loses(sent)`` true makes a datagram vanish."""

    def __init__(self, *, seed: object = 0) -> None:
        self.now = START
        self.unix_offset = UNIX_EPOCH_OFFSET
        """Of the wall clock of all nodes, which tests may set back and forth."""
        self.seed = seed
        self.nodes: list[Node] = []
        self.sent: list[Sent] = []
        """Everything any node sent, lost or not."""
        self.loses: Callable[[Sent], bool] = _loses_none

    def cut(self) -> None:
        """From now on everything is lost."""
        self.loses = _loses_all

    def mend(self) -> None:
        """From now on nothing is lost."""
        self.loses = _loses_none

    def unix_now(self) -> int:
        """The wall clock, nanoseconds."""
        return self.unix_offset + self.now

    def add(
        self,
        number: int,
        peers: Sequence[PeerConfig],
        *,
        networks: Sequence[NetworkConfig] = (NETWORK,),
        addresses: Sequence[str] | None = None,
        forward: bool = False,
        dataplane: DataPlane | None = None,
        timestamps: TimestampSource | None = None,
        key_log: Callable[[HandshakeKeys], None] | None = None,
        seed: object = None,
    ) -> Node:
        """A new node, see :func:`make_engine`; an older one at its endpoint is taken off."""
        engine = make_engine(
            number,
            peers,
            now=self.now,
            wall_clock=self.unix_now,
            networks=networks,
            addresses=addresses,
            forward=forward,
            dataplane=dataplane,
            timestamps=timestamps,
            key_log=key_log,
            seed=self.seed if seed is None else seed,
        )
        node = Node(self, number, engine)
        self.nodes = [n for n in self.nodes if n.endpoint != node.endpoint] + [node]
        return node

    def carry(self, sender: Node, burst: Burst) -> None:
        """Carry a burst, the answers to it, and so on, in order, until all is quiet."""
        bursts = deque([(sender, burst)])
        while bursts:
            node, burst = bursts.popleft()
            node.frames += [frame for _, frame in burst.frames]
            for datagram in burst.datagrams:
                sent = Sent(self.now, node, datagram)
                self.sent.append(sent)
                receiver = self._at(datagram.endpoint)
                if receiver is None or self.loses(sent):
                    continue
                source = node.endpoint._replace(local=receiver.endpoint.ip)
                bursts.append((receiver, receiver.hear(datagram.data, source, datagram.tos)))

    def _at(self, endpoint: Endpoint) -> Node | None:
        for node in self.nodes:
            if node.endpoint.remote() == endpoint.remote():
                return node
        return None

    def run(self, duration: int) -> None:
        """Let ``duration`` nanoseconds pass, firing each timer exactly when it is due."""
        end = self.now + duration
        while True:
            due = min(node.engine.next_deadline(self.now) for node in self.nodes)
            if due > end:
                break
            self.now = max(self.now, due)
            for node in list(self.nodes):
                if node.engine.next_deadline(self.now) <= self.now:
                    self.carry(node, node.engine.handle_timer(self.now))
                    # Else a timer that fires without moving on would hang the test.
                    assert node.engine.next_deadline(self.now) > self.now
        self.now = end

    def run_until(self, moment: int) -> None:
        """Let time pass up to ``moment``."""
        self.run(moment - self.now)

    def sent_by(self, node: Node, *kinds: int) -> list[Sent]:
        """What a node sent, of all or of these message types."""
        return [s for s in self.sent if s.sender is node and (not kinds or s.kind in kinds)]


def pair(
    *,
    preshared_key: bytes | None = None,
    seed: object = 0,
    keepalive: int = 0,
    network: NetworkConfig = NETWORK,
) -> tuple[Wire, Node, Node]:
    """Two nodes, 1 and 2. The first knows where the second is, not the other way round.

    ``keepalive`` is the first one's persistent keepalive to the second, in seconds.
    """
    wire = Wire(seed=seed)
    to_second = peer_config(2, preshared_key=preshared_key, persistent_keepalive=keepalive)
    first = wire.add(1, [to_second], networks=[network])
    second = wire.add(2, [peer_config(1, preshared_key=preshared_key)], networks=[network])
    first.knows(second)
    return wire, first, second


def connected(*, preshared_key: bytes | None = None, seed: object = 0) -> tuple[Wire, Node, Node]:
    """A :func:`pair` after one frame from the first to the second, all counters as they fell."""
    wire, first, second = pair(preshared_key=preshared_key, seed=seed)
    frame = first.send(second)
    assert second.frames == [frame]
    return wire, first, second


def mesh(count: int, *, seed: object = 0) -> tuple[Wire, list[Node]]:
    """Nodes 1 to ``count``, each a peer of all others and told where they are."""
    wire = Wire(seed=seed)
    numbers = range(1, count + 1)
    nodes = [wire.add(i, [peer_config(j) for j in numbers if j != i]) for i in numbers]
    for node in nodes:
        for other in nodes:
            if node is not other:
                node.knows(other)
    return wire, nodes

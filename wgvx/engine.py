"""A whole node without IO: the data plane, the handshake side, and the configuration of both.

Sockets, clocks and tasks are the caller's (:mod:`wgvx.node`, or a simulator with a virtual clock):
``now`` comes in, bursts go out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from ipaddress import IPv4Network, IPv6Network, ip_network

from wgvx.config import Config, EndpointName, NetworkConfig, NodeConfig, default_remotes
from wgvx.dataplane.interface import Burst, Datagram, DataPlane, Network
from wgvx.drops import Reason
from wgvx.keys import public_key
from wgvx.mtu import IPV4_HEADER, IPV6_HEADER, TCP_HEADER, overlay_mtu, tunnel_mtu
from wgvx.paths.probes import PathProbes
from wgvx.quiet.feature import Surroundings
from wgvx.quiet.network import QuietNetwork, watched_by
from wgvx.vxlan.fdb import FLOOD
from wgvx.vxlan.limits import Limits
from wgvx.vxlan.mss import UNCLAMPED, Mss
from wgvx.wireguard.allowed_ips import Prefix
from wgvx.wireguard.constants import SECOND
from wgvx.wireguard.device import Device
from wgvx.wireguard.handshake_queue import HandshakeQueue
from wgvx.wireguard.sessions import Endpoint, Event, HandshakeKeys, News
from wgvx.wireguard.tai64n import TimestampSource

AGEING_INTERVAL = 10 * SECOND
"""How often tables are rid of what is too old, as in the kernel's VXLAN device."""


@dataclass(slots=True)
class PeerInfo:
    """What people know of a peer; the rest is the data plane's and the device's."""

    id: int
    public_key: bytes
    name: str | None = None
    endpoint_name: EndpointName | None = None
    """The endpoint as configured, a name or an address."""
    heard_at: Endpoint | None = None
    """Where the peer was, before its silence made us try where it is said to be."""


class Engine:
    """One node. ``random(n)`` gives n random bytes, ``wall_clock()`` Unix nanoseconds; ``key_log``,
    if there is one, is told every handshake's keys.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        node: NodeConfig,
        *,
        timestamps: TimestampSource,
        random: Callable[[int], bytes],
        wall_clock: Callable[[], int],
        key_log: Callable[[HandshakeKeys], None] | None = None,
    ) -> None:
        self.dataplane = dataplane
        self.device = Device(
            dataplane,
            private_key=node.private_key,
            timestamps=timestamps,
            random=random,
            wall_clock=wall_clock,
            key_log=key_log,
        )
        self.paths = PathProbes(dataplane, self._tunnel_addresses, random)
        self._tunnel_mtu = self._clamped_to = tunnel_mtu(())
        self.peers: dict[bytes, PeerInfo] = {}
        """By public key, in the order they were added."""
        self.networks: dict[int, NetworkConfig] = {}
        """By VNI."""
        self.quiet: dict[int, QuietNetwork] = {}
        """By VNI."""
        self._timed: list[QuietNetwork] = []
        """Those that may have timers."""
        self._ports: dict[int, dict[int, bytes | None]] = {}
        """By VNI: the ports, with their MACs."""
        self._port_names: dict[int, str] = {}
        self._random = random
        self._messages: list[str] = []
        self._queue = HandshakeQueue()
        self._next_peer = 1
        self._next_port = 1
        self._next_ageing: int | None = None
        self._flooded: tuple[bytes, ...] = ()
        """The remotes that follow the peers, as last put into the flood lists."""
        dataplane.set_public_key(self.device.public_key)
        self.set_node(node)

    # --- configuration -----------------------------------------------------------------------

    def configure(self, config: Config, now: int) -> None:
        """Take in the peers and networks of a checked configuration. Endpoints are the caller's:
        names need looking up.
        """
        for peer in config.peers:
            info = self.add_peer(peer.public_key, name=peer.name)
            self.device.set_preshared_key(info.id, peer.preshared_key)
            for prefix in peer.allowed_ips:
                self.dataplane.add_allowed_ip(info.id, packed_prefix(prefix))
            self.device.set_persistent_keepalive(info.id, peer.persistent_keepalive, now)
        for network in config.networks:
            self._add_network(network, now)
        self.follow_peers()

    def set_node(self, node: NodeConfig) -> None:
        """Our tunnel addresses, and whether we relay; what else it says is not looked at."""
        self._node = node
        self.dataplane.set_addresses(address.ip.packed for address in node.addresses)
        self.dataplane.set_forward(node.forward)
        self.paths.set(on=node.probe_mtu, top=self._tunnel_mtu)
        self._follow_paths()

    def set_mtu(self, tunnel: int) -> None:
        """The tunnel MTU as the file or the routes have it. Packets of that size are let through
        whatever the paths carry: an underlay that fragments them is slow, and no more."""
        self._tunnel_mtu = tunnel
        self.dataplane.set_mtu(tunnel)
        self.paths.set(on=self._node.probe_mtu, top=tunnel)
        self._follow_paths()

    def _follow_paths(self) -> None:
        """Hold TCP to what the tunnel carries now."""
        if self.tunnel_mtu != self._clamped_to:
            self._clamped_to = self.tunnel_mtu
            for network in self.networks.values():
                self.dataplane.set_network(self._settings(network))

    @property
    def is_mtu_fixed(self) -> bool:
        """Whether the file says what it is, whatever the paths carry."""
        return self._node.mtu is not None

    @property
    def tunnel_mtu(self) -> int:
        """In force: what all paths carry, unless it is fixed."""
        return self._tunnel_mtu if self.is_mtu_fixed else self.paths.lowest()

    def overlay_mtu(self, network: NetworkConfig) -> int:
        """In force."""
        wanted = network.mtu or overlay_mtu(self._tunnel_mtu)
        carried = self.tunnel_mtu
        return wanted if carried == self._tunnel_mtu else min(wanted, overlay_mtu(carried))

    def set_network(self, network: NetworkConfig, now: int) -> None:
        """Other settings for one that is there; its static entries are the caller's."""
        self.networks[network.vni] = network
        self.dataplane.set_network(self._settings(network))
        self._set_quiet(network, now)

    def _add_network(self, network: NetworkConfig, now: int) -> None:
        vni = network.vni
        self.networks[vni] = network
        self.dataplane.add_network(self._settings(network))
        self.quiet[vni] = QuietNetwork(self._surroundings(vni))
        self._set_quiet(network, now)
        for remote in network.remotes or ():
            self.dataplane.fdb_add(network.vni, FLOOD, remote.packed)
        for entry in network.fdb:
            self.dataplane.fdb_add(network.vni, entry.mac, entry.vtep.packed)

    def _settings(self, network: NetworkConfig) -> Network:
        """A network as the data plane knows it."""
        accept = network.accept
        return Network(
            vni=network.vni,
            udp_port=network.udp_port,
            learning=network.learning,
            ageing=network.ageing * SECOND,
            max_entries=network.max_entries,
            accept=None if accept is None else tuple(map(packed_prefix, accept)),
            sticky=network.sticky,
            move_limit=network.move_limit,
            limits=Limits(network.broadcast_limit, network.multicast_limit, network.unknown_limit),
            watch=watched_by(network),
            mss=largest_mss(self.overlay_mtu(network)) if network.clamp_mss else UNCLAMPED,
        )

    def _set_quiet(self, network: NetworkConfig, now: int) -> None:
        self.quiet[network.vni].set(network, now)
        self._timed = [quiet for quiet in self.quiet.values() if not quiet.is_plain]

    def _surroundings(self, vni: int) -> Surroundings:
        return Surroundings(
            vni=vni,
            bridge=self.dataplane,
            ports=self._ports.setdefault(vni, {}),
            ageing=lambda: self.networks[vni].ageing * SECOND,
            identity=blake2s(self.device.public_key or b"", digest_size=8).digest(),
            random=self._random,
            port_name=lambda port: self._port_names.get(port, str(port)),
            say=self._messages.append,
        )

    def take_messages(self) -> list[str]:
        """What features of networks have to tell people, for a log."""
        messages, self._messages[:] = self._messages[:], []
        return messages

    def add_port(self, vni: int, mac: bytes | None, name: str | None = None) -> int:
        """A new attachment of a network, by its number if it has no name; returns its number."""
        port = self._next_port
        self._next_port += 1
        self.dataplane.add_port(vni, port, mac)
        self._ports[vni][port] = mac
        if name is not None:
            self._port_names[port] = name
        return port

    def add_peer(self, public_key: bytes, *, name: str | None = None) -> PeerInfo:
        """A new peer with that key, which is neither another peer's nor our own."""
        info = PeerInfo(self._next_peer, public_key, name)
        self._next_peer += 1
        self.peers[public_key] = info
        self.dataplane.add_peer(info.id)
        self.device.add_peer(info.id, public_key, None)
        self.paths.add(info.id)
        return info

    def remove_peer(self, public_key: bytes) -> None:
        """Forget a peer, its sessions and its prefixes."""
        info = self.peers.pop(public_key)
        self.paths.forget(info.id)
        self.device.remove_peer(info.id)
        self.dataplane.remove_peer(info.id)

    def set_private_key(self, private_key: bytes | None, now: int) -> None:
        """Become somebody else. A peer that has our new key is removed, as the kernel does."""
        own = public_key(private_key) if private_key else None
        if own in self.peers:
            self.remove_peer(own)
            self.follow_peers()
        self.device.set_private_key(private_key, now)
        self.dataplane.set_public_key(own)

    def set_endpoint(self, info: PeerInfo, endpoint: Endpoint, now: int) -> None:
        """Where a peer is said to be. One that is to be kept alive is spoken to at once."""
        known = self.dataplane.endpoint(info.id)
        if known is None or known.remote() != endpoint.remote():
            self.dataplane.set_endpoint(info.id, endpoint)
        if known is None and self.device.persistent_keepalive(info.id):
            self.device.initiate(info.id, now)

    def try_endpoint(self, info: PeerInfo, configured: Endpoint, now: int) -> None:
        """Handshakes go unanswered: try where the peer is said to be, and where it was last heard,
        in turn. A name may have moved, and a recorded message may have moved the endpoint.
        """
        known = self.dataplane.endpoint(info.id)
        if known is None:
            self.set_endpoint(info, configured, now)
        elif known.remote() != configured.remote():
            info.heard_at = known
            self.dataplane.set_endpoint(info.id, configured)
        elif info.heard_at is not None:
            self.dataplane.set_endpoint(info.id, info.heard_at)

    def follow_peers(self) -> None:
        """Let the flood lists of networks without ``remotes`` follow the peers' prefixes.

        Only the difference is applied, so that what was edited by hand stays.
        """
        prefixes = (self._host_prefixes(info.id) for info in self.peers.values())
        remotes = tuple(address.packed for address in default_remotes(self._node, prefixes))
        before, after = set(self._flooded), set(remotes)
        for vni, network in self.networks.items():
            if network.remotes is not None:
                continue
            for gone in before - after:
                self.dataplane.fdb_delete(vni, FLOOD, gone)
            for new in remotes:
                if new not in before:
                    self.dataplane.fdb_add(vni, FLOOD, new)
        self._flooded = remotes

    def _host_prefixes(self, peer: int) -> Iterator[IPv4Network | IPv6Network]:
        """The only ones that can be a VTEP's; a peer may have 100,000 others."""
        for address, length in self.dataplane.allowed_ips(peer):
            if length == len(address) * 8:
                yield ip_network((address, length))

    def _tunnel_addresses(self, peer: int) -> tuple[bytes, bytes] | None:
        """One of ours, and the peer's first that a packet can be sent to from it."""
        ours = {address.version: address.ip.packed for address in reversed(self._node.addresses)}
        for prefix in self._host_prefixes(peer):
            if prefix.version in ours:
                return ours[prefix.version], prefix.network_address.packed
        return None

    # --- what a burst leaves to do -----------------------------------------------------------

    def absorb(self, burst: Burst, now: int) -> None:
        """Act on a burst's events; queue its handshake messages."""
        for message in burst.handshakes:
            if not self._queue.offer(message, now):
                self.dataplane.count(Reason.HANDSHAKE_RATE)
        if burst.handshakes and self._queue.under_load(now):
            # From now on a flood ends in the data plane.
            self.device.demand_cookies(self._queue.loaded_until, now)
        if burst.events:
            self.device.on_events(burst.events, now)
        for peer, events in burst.events.items():
            if events & Event.ROAMED:
                self.paths.hint(peer)
        for peer in burst.echoes:
            self.paths.echoed(peer, now)
        if burst.echoes:
            self._follow_paths()
        for vni, origin, frame in burst.watched:
            self.quiet[vni].handle(origin, frame, now)

    def has_handshakes(self) -> bool:
        """Whether handshake messages wait to be served."""
        return len(self._queue) > 0

    def serve_handshakes(self, now: int, out_of_time: Callable[[], bool]) -> None:
        """Serve waiting handshake messages, oldest first, at least one, until out of time."""
        while (message := self._queue.take()) is not None:
            self.device.handle(message, now, under_load=self._queue.under_load(now))
            if out_of_time():
                return

    # --- the clock ---------------------------------------------------------------------------

    def next_deadline(self, now: int) -> int:
        """When :meth:`expire` is next worth calling."""
        if self._next_ageing is None:
            self._next_ageing = now + AGEING_INTERVAL
        deadlines = [self.device.next_deadline()]
        deadlines += [network.next_deadline() for network in self._timed]
        deadlines.append(self.paths.next_deadline(now))
        return min(at for at in (*deadlines, self._next_ageing) if at is not None)

    def expire(self, now: int) -> None:
        """Act on all timers due."""
        self.device.expire(now)
        for network in self._timed:
            network.expire(now)
        self.paths.expire(now)
        self._follow_paths()
        if self._next_ageing is not None and now >= self._next_ageing:
            self._next_ageing = now + AGEING_INTERVAL
            self.dataplane.age(now)

    # --- all of it at once, for callers without a loop ----------------------------------------

    def receive(self, datagrams: Sequence[Datagram], now: int) -> Burst:
        """Datagrams in; frames and datagrams out, handshakes served."""
        return self._settle(self.dataplane.receive(datagrams, now), now)

    def transmit(self, port: int, frames: Sequence[bytes], now: int) -> Burst:
        """Frames in; frames and datagrams out, handshakes begun where needed."""
        return self._settle(self.dataplane.transmit(port, frames, now), now)

    def handle_timer(self, now: int) -> Burst:
        """Timers due; datagrams out."""
        self.expire(now)
        return self._settle(Burst(), now)

    def _settle(self, burst: Burst, now: int) -> Burst:
        settled = Burst()
        while True:
            settled.add(burst)
            self.absorb(burst, now)
            self.serve_handshakes(now, _never)
            burst = self.dataplane.take()
            if not (burst.datagrams or burst.frames or burst.events):
                return settled

    def take_news(self) -> list[tuple[PeerInfo, News]]:
        """What happened to peers' handshakes since the last call, for a log."""
        news = self.device.take_news()
        if not news:
            return []
        by_id = {info.id: info for info in self.peers.values()}
        return [(by_id[peer], what) for peer, what in news if peer in by_id]

    def waiting(self) -> Iterator[PeerInfo]:
        """Peers whose handshakes have gone unanswered since the last call."""
        unreachable = self.device.take_unreachable()
        return (info for info in self.peers.values() if info.id in unreachable)


def _never() -> bool:
    return False


def largest_mss(mtu: int) -> Mss:
    """What an overlay MTU leaves for TCP's payload: an MSS counts no options (RFC 6691)."""
    return Mss(mtu - IPV4_HEADER - TCP_HEADER, max(0, mtu - IPV6_HEADER - TCP_HEADER))


def packed_prefix(prefix: IPv4Network | IPv6Network) -> Prefix:
    """A prefix as the core knows it."""
    return prefix.network_address.packed, prefix.prefixlen

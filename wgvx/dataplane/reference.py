"""The reference data plane: the definition of correct, packet by packet, in Python.

The way of a datagram in, top to bottom: ``_receive`` -> ``_transport`` (open, replay, roam, inner
source) -> ``RarePackets.deliver`` (fragments, pings) -> ``decapsulate`` (UDP, VXLAN, learning) ->
``_bridge`` (FDB), or ``_relay`` (a hub's). The way of a frame out: ``_transmit`` (learning) ->
``_bridge`` -> ``_encapsulate`` (VXLAN, UDP, IP) -> ``_route`` (allowed IPs, staging) -> ``_seal``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wgvx.dataplane.captured import Capture, CaptureBuffer, Captured, Passed
from wgvx.dataplane.interface import Burst, Datagram, PeerCounters, Watched
from wgvx.dataplane.peer import PeerState
from wgvx.dataplane.rare import RarePackets
from wgvx.dataplane.reference_networks import NetworkState, ReferenceNetworks
from wgvx.drops import Drop, Reason
from wgvx.vxlan import ecn, flow, header, ip, mss, udp
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.vtep import Forwarding
from wgvx.wireguard import cookie, inner, messages
from wgvx.wireguard.allowed_ips import AllowedIps, Prefix
from wgvx.wireguard.constants import HANDSHAKE_TOS
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.noise import TransportKeys
from wgvx.wireguard.sessions import CookieDemand, Endpoint, Event, HandshakeMessage, Stamps

DEFAULT_MTU = 1420
_ECN_CE = 3


class ReferenceDataPlane(ReferenceNetworks):
    """See :class:`~wgvx.dataplane.interface.DataPlane`."""

    name = "reference"
    aead = "cryptography"

    def __init__(self) -> None:
        super().__init__()
        self._burst = Burst()
        self._drops = dict.fromkeys(Reason, 0)
        self._mac1_key: bytes | None = None
        self._cookie_key = b""
        self._cookie_demand: CookieDemand | None = None
        self._cookies_made = 0
        self._addresses: frozenset[bytes] = frozenset()
        self._source: dict[int, bytes] = {}
        """Address length to the address that tunnel packets of that family leave from."""
        self._mtu = DEFAULT_MTU
        self._forward = False
        self._identification = 0

        self._peers: dict[int, PeerState] = {}
        self._keypairs: dict[int, Keypair] = {}
        self._open_handshakes: set[int] = set()
        self._allowed_ips = AllowedIps()

        self._rare = RarePackets(self)
        self._copies = CaptureBuffer()

    # --- inbound: from the underlay to a port ------------------------------------------------

    def receive(self, datagrams: Sequence[Datagram], now: int) -> Burst:
        self._copies.now = now
        for datagram in datagrams:
            self._copies.datagram(Passed.DATAGRAM_IN, *datagram)
            try:
                self._receive(datagram, now)
            except Drop as drop:
                self.count(drop.reason)
        return self.take()

    def _receive(self, datagram: Datagram, now: int) -> None:
        message = datagram.data
        kind = messages.message_type(message) if len(message) >= 4 else 0
        if kind == messages.TRANSPORT and len(message) >= messages.TRANSPORT_MINIMUM:
            self._transport(datagram, now)
        elif messages.HANDSHAKE_LENGTHS.get(kind) == len(message):
            self._hand_up(HandshakeMessage(message, datagram.endpoint), now)
        else:
            raise Drop(Reason.MALFORMED)

    def _hand_up(self, message: HandshakeMessage, now: int) -> None:
        """ "the responder [...] must discard any message whose mac1 is invalid" (section 5.3)."""
        kind = messages.message_type(message.data)
        if kind != messages.COOKIE_REPLY and (
            self._mac1_key is None or not cookie.mac1_valid(self._mac1_key, message.data)
        ):
            raise Drop(Reason.BAD_MAC1)
        if kind != messages.INITIATION and not self._awaits(kind, message.data):
            raise Drop(Reason.UNKNOWN_INDEX)
        demand = self._cookie_demand
        if kind != messages.COOKIE_REPLY and demand is not None and now < demand.until:
            self._demand_cookie(message, demand)
        self._burst.handshakes.append(message)

    def _awaits(self, kind: int, message: bytes) -> bool:
        """Whether a response, or a cookie reply, answers something that we sent."""
        index = messages.receiver_index(message)
        if index in self._open_handshakes:
            return True
        # A response of ours was answered with a cookie: its session is there already.
        return kind == messages.COOKIE_REPLY and index in self._keypairs

    def _demand_cookie(self, message: HandshakeMessage, demand: CookieDemand) -> None:
        """ "If it is under load [...] the responder may require mac2", and answers a message
        without it with a cookie reply (section 5.4.7).
        """
        made = cookie.make_cookie(demand.secret, message.endpoint)
        if not cookie.mac2_valid(made, message.data):
            self._cookies_made += 1
            nonce = cookie.drawn_nonce(demand.nonce_key, self._cookies_made)
            reply = cookie.make_reply(self._cookie_key, nonce, made, message.data)
            self.reply(message.endpoint, reply.pack())
            raise Drop(Reason.BAD_MAC2)

    def _transport(self, datagram: Datagram, now: int) -> None:
        keypair = self._keypairs.get(messages.receiver_index(datagram.data))
        if keypair is None:
            raise Drop(Reason.UNKNOWN_INDEX)
        plaintext = keypair.open(datagram.data, now)

        # From here on the packet is the peer's: whatever its content, the peer was heard.
        peer = self._peers[keypair.peer]
        self._heard(peer, datagram.endpoint, len(datagram.data), now)
        confirmed, dropped = peer.slots.confirm(keypair)
        self._forget(dropped)
        if confirmed:
            self._raise_event(peer, Event.CONFIRMED)
            self.send_staged(peer.id, now, or_keepalive=False)
        current = peer.slots.current
        if current is not None and current.wants_rekey_on_receive(now):
            current.rekey_asked = True
            self._raise_event(peer, Event.NEED_HANDSHAKE)
        if not plaintext:
            return  # A keepalive.
        self._raise_event(peer, peer.data_received(now))

        packet, source, destination = inner.parse(plaintext)
        # "the source address of the packet [must be] one that routes to this peer" (section 2),
        # and what no host may send from is nobody's, however wide the peer's prefixes are.
        if (
            self._allowed_ips.lookup(source) != peer.id
            or source in self._addresses
            or ip.is_martian(source)
        ):
            raise Drop(Reason.SOURCE_NOT_ALLOWED)
        if datagram.tos & _ECN_CE == _ECN_CE:
            packet = ip.mark_ce(packet)
        if destination in self._addresses:
            self._rare.deliver(peer.id, packet, now)
        elif self._forward:
            self._relay(peer, packet, destination, now)
        else:
            raise Drop(Reason.NO_ROUTE)

    def decapsulate(self, packet: ip.IpPacket, now: int) -> None:
        """A whole UDP packet for us: VXLAN."""
        _, port, payload = udp.parse(packet)
        if port not in self.udp_ports:
            raise Drop(Reason.NOT_VXLAN)
        network = self.networks.get(header.parse(payload))
        if network is None or network.udp_port != port:
            raise Drop(Reason.UNKNOWN_VNI)
        frame = payload[header.HEADER_LENGTH :]
        watched = network.vtep.arrive(packet.source, frame, now)
        frame = ecn.decapsulate(packet.ecn, frame)
        network.rx_frames += 1
        if watched:
            self._burst.watched.append(Watched(network.vtep.vni, Remote(packet.source), frame))
        else:
            self._bridge(network, Remote(packet.source), mss.clamp(frame, network.mss), now)

    def send_packet(self, packet: bytes, now: int) -> None:
        """A tunnel packet of our own."""
        self._route(packet, ip.destination_of(packet), now)

    def echo_came(self, peer: int) -> None:
        """The peer sent back the echo that was expected of it."""
        self._burst.echoes.append(peer)

    def expect_echo(self, peer: int, source: bytes, rest: bytes) -> None:
        self._rare.expect_echo(peer, source, rest)

    def send_probe(self, peer: int, packet: bytes, now: int) -> Reason | None:
        state = self._peers[peer]
        keypair = state.slots.current
        if state.endpoint is None or keypair is None or not keypair.can_send(now):
            return Reason.NO_ENDPOINT
        self._seal(state, keypair, packet, now)
        return self._send_whole(self._burst.datagrams.pop())

    def _relay(self, origin: PeerState, packet: bytes, destination: bytes, now: int) -> None:
        """A hub's: on to the peer with the longest prefix, never back to where it came from."""
        if not ip.routable(destination):
            raise Drop(Reason.NO_ROUTE)
        if self._allowed_ips.lookup(destination) == origin.id:
            raise Drop(Reason.NO_ROUTE)
        self._route(ip.decrement_hop_limit(packet), destination, now)

    # --- outbound: from a port to the underlay -----------------------------------------------

    def transmit(self, port: int, frames: Sequence[bytes], now: int) -> Burst:
        self._copies.now = now
        for frame in frames:
            self._copies.frame(Passed.FRAME_IN, port, frame)
            try:
                self._transmit(port, frame, now)
            except Drop as drop:
                self.count(drop.reason)
        return self.take()

    def _transmit(self, port: int, frame: bytes, now: int) -> None:
        network = self.network_of_port[port]
        if network.vtep.enter(port, frame, now):
            self._burst.watched.append(Watched(network.vtep.vni, Local(port), frame))
        else:
            self._bridge(network, Local(port), frame, now)

    def _bridge(
        self,
        network: NetworkState,
        origin: Local | Remote,
        frame: bytes,
        now: int,
        to: Forwarding | None = None,
    ) -> None:
        ports, remotes = network.vtep.forward(origin, frame, now, to)
        for port in ports:
            if network.vtep.is_blocked(port):
                self.count(Reason.PORT_BLOCKED)
            else:
                self._deliver(port, frame)
        self._replicate(network, remotes, frame, now)

    def _deliver(self, port: int, frame: bytes) -> None:
        self._copies.frame(Passed.FRAME_OUT, port, frame)
        self._burst.frames.append((port, frame))

    def _replicate(
        self, network: NetworkState, remotes: Sequence[bytes], frame: bytes, now: int
    ) -> None:
        """Head-end replication: each copy is a packet."""
        sent = False
        if remotes:
            frame = mss.clamp(frame, network.mss)
        for remote in remotes:
            try:
                self._encapsulate(network, remote, frame, now)
                sent = True
            except Drop as drop:
                self.count(drop.reason)
        network.tx_frames += sent

    def forward_frame(
        self, vni: int, origin: Local | Remote, frame: bytes, now: int, to: Forwarding | None = None
    ) -> bool:
        try:
            self._bridge(self.networks[vni], origin, frame, now, to)
        except Drop as drop:
            self.count(drop.reason)
            return False
        return True

    def send_frame(self, vni: int, to: Forwarding, frame: bytes, now: int) -> None:
        self._copies.now = now
        for port in to.ports:
            self._deliver(port, frame)
        self._replicate(self.networks[vni], to.remotes, frame, now)

    def _encapsulate(self, network: NetworkState, remote: bytes, frame: bytes, now: int) -> None:
        source = self._source.get(len(remote))
        if source is None:
            raise Drop(Reason.NO_ROUTE)
        if len(frame) > self._mtu:
            raise Drop(Reason.TOO_BIG)  # Before its length is put into 16 bits.
        datagram = udp.build(
            source, remote, flow.source_port(frame), network.udp_port, network.header + frame
        )
        packet = ip.build(
            source,
            remote,
            ip.PROTOCOL_UDP,
            datagram,
            ecn=ecn.encapsulate(flow.frame_ecn(frame)),
            identification=self.next_identification(),
        )
        self._route(packet, remote, now)

    def _route(self, packet: bytes, destination: bytes, now: int) -> None:
        """Cryptokey routing: the peer, its key, or the queue of staged packets."""
        peer_id = self._allowed_ips.lookup(destination)
        if peer_id is None:
            raise Drop(Reason.NO_ROUTE)
        if len(packet) > self._mtu:
            raise Drop(Reason.TOO_BIG)
        peer = self._peers[peer_id]
        if peer.endpoint is None:
            raise Drop(Reason.NO_ENDPOINT)
        keypair = peer.slots.current
        if keypair is None or not keypair.can_send(now):
            if peer.stage(packet):
                self.count(Reason.STAGED_OVERFLOW)
            self._raise_event(peer, Event.NEED_HANDSHAKE)
        else:
            self._seal(peer, keypair, packet, now)

    def _seal(self, peer: PeerState, keypair: Keypair, packet: bytes, now: int) -> None:
        """Pad, encrypt, send. An empty packet is a keepalive."""
        message = keypair.seal(inner.pad(packet, self._mtu))
        tos = 0
        if packet:
            tos = ecn.encapsulate(ip.ecn_of(packet))
            self._raise_event(peer, peer.data_sent(now))
        self._send(peer, message, tos, now)
        if keypair.wants_rekey_on_send(now):
            self._raise_event(peer, Event.NEED_HANDSHAKE)

    def _send(self, peer: PeerState, message: bytes, tos: int, now: int) -> None:
        if peer.endpoint is not None:
            peer.sent(len(message), now)
            self._copies.now = now
            self._put_out(Datagram(message, peer.endpoint, tos))

    def _put_out(self, datagram: Datagram) -> None:
        self._copies.datagram(Passed.DATAGRAM_OUT, *datagram)
        self._burst.datagrams.append(datagram)

    # --- effects -----------------------------------------------------------------------------

    def take(self) -> Burst:
        burst, self._burst = self._burst, Burst()
        return burst

    def _raise_event(self, peer: PeerState, event: Event) -> None:
        if event:
            self._burst.events[peer.id] = self._burst.events.get(peer.id, Event(0)) | event

    def _heard(self, peer: PeerState, endpoint: Endpoint, length: int, now: int) -> None:
        if peer.heard(endpoint, length, now):
            self._raise_event(peer, Event.ROAMED)

    def _forget(self, keypairs: Iterable[Keypair]) -> None:
        for keypair in keypairs:
            del self._keypairs[keypair.local_index]

    def next_identification(self) -> int:
        """IPv4 identifications of our tunnel packets count up: a peer may fragment them."""
        self._identification = (self._identification + 1) & 0xFFFF
        return self._identification

    # --- Sessions: what the handshake side asks for ------------------------------------------

    def index_peer(self, index: int) -> int | None:
        keypair = self._keypairs.get(index)
        return keypair.peer if keypair else None

    def open_handshake(self, index: int) -> None:
        self._open_handshakes.add(index)

    def close_handshake(self, index: int) -> None:
        self._open_handshakes.discard(index)

    def install(
        self,
        peer: int,
        *,
        local_index: int,
        remote_index: int,
        keys: TransportKeys,
        initiator: bool,
        now: int,
    ) -> None:
        keypair = Keypair(peer, local_index, remote_index, keys, initiator, now)
        self._forget(self._peers[peer].slots.install(keypair))
        self._keypairs[local_index] = keypair

    def has_endpoint(self, peer: int) -> bool:
        return self._peers[peer].endpoint is not None

    def forget_local_address(self, peer: int) -> None:
        self._peers[peer].forget_local_address()

    def received_handshake(self, peer: int, endpoint: Endpoint, length: int, now: int) -> None:
        self._heard(self._peers[peer], endpoint, length, now)

    def send_handshake(self, peer: int, message: bytes, now: int) -> None:
        self._send(self._peers[peer], message, HANDSHAKE_TOS, now)

    def reply(self, endpoint: Endpoint, message: bytes) -> None:
        self._put_out(Datagram(message, endpoint))

    def send_staged(self, peer: int, now: int, *, or_keepalive: bool) -> bool:
        state = self._peers[peer]
        keypair = state.slots.current
        if keypair is None or not keypair.can_send(now):
            return False
        packets = state.unstage()
        if not packets and or_keepalive:
            packets = [b""]
        for packet in packets:
            self._seal(state, keypair, packet, now)
        return True

    def demand_cookies(self, demand: CookieDemand) -> None:
        self._cookie_demand = demand

    def drop_staged(self, peer: int, reason: Reason) -> None:
        self._drops[reason] += len(self._peers[peer].unstage())

    def forget_keys(self, peer: int) -> None:
        self._forget(self._peers[peer].slots.clear())

    def expire_sending_keys(self) -> None:
        for keypair in self._keypairs.values():
            keypair.may_send = False

    def stamps(self, peer: int) -> Stamps:
        return self._peers[peer].stamps()

    def disarm(self, peer: int, events: Event) -> None:
        self._peers[peer].disarm(events)

    def count(self, reason: Reason) -> None:
        self._drops[reason] += 1

    # --- the node ----------------------------------------------------------------------------

    def set_public_key(self, public_key: bytes | None) -> None:
        self._mac1_key = cookie.mac1_key(public_key) if public_key else None
        self._cookie_key = cookie.cookie_key(public_key) if public_key else b""

    def set_addresses(self, addresses: Iterable[bytes]) -> None:
        ordered = list(addresses)
        self._addresses = frozenset(ordered)
        self._source = {len(address): address for address in reversed(ordered)}

    def set_mtu(self, mtu: int) -> None:
        self._mtu = mtu

    def set_forward(self, forward: bool) -> None:
        self._forward = forward

    def set_capture(self, kinds: Capture, snaplen: int) -> None:
        self._copies.set(kinds, snaplen)

    def take_captured(self) -> tuple[list[Captured], int]:
        return self._copies.take()

    def drops(self) -> dict[Reason, int]:
        return dict(self._drops)

    def age(self, now: int) -> None:
        for network in self.networks.values():
            network.vtep.fdb.age(now)
        self._drops[Reason.FRAGMENT] += self._rare.expire(now)

    # --- peers -------------------------------------------------------------------------------

    def add_peer(self, peer: int) -> None:
        self._peers[peer] = PeerState(peer)

    def remove_peer(self, peer: int) -> None:
        self.forget_keys(peer)
        self._allowed_ips.remove_peer(peer)
        del self._peers[peer]
        self._rare.expect_echo(peer, b"", b"")
        self._burst.events.pop(peer, None)

    def set_endpoint(self, peer: int, endpoint: Endpoint | None) -> None:
        self._peers[peer].endpoint = endpoint

    def endpoint(self, peer: int) -> Endpoint | None:
        return self._peers[peer].endpoint

    def give_up_local_address(self, peer: int, endpoint: Endpoint) -> None:
        self._peers[peer].give_up_local_address(endpoint)

    def allow_local_address(self, peer: int) -> None:
        self._peers[peer].allow_local_address()

    def add_allowed_ip(self, peer: int, prefix: Prefix) -> None:
        self._allowed_ips.insert(prefix, peer)

    def remove_allowed_ip(self, peer: int, prefix: Prefix) -> bool:
        return self._allowed_ips.remove(prefix, peer)

    def clear_allowed_ips(self, peer: int) -> None:
        self._allowed_ips.remove_peer(peer)

    def allowed_ips(self, peer: int) -> list[Prefix]:
        return list(self._allowed_ips.of_peer(peer))

    def route(self, address: bytes) -> int | None:
        return self._allowed_ips.lookup(address)

    def peer_counters(self, peer: int) -> PeerCounters:
        state = self._peers[peer]
        return PeerCounters(state.rx_bytes, state.tx_bytes)

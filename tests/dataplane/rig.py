"""One data plane on the bench: we are everybody else, and hold the other end of every session.

Peer n has the tunnel addresses 10.254.0.n and fd00:fe::n, is reached at 198.18.0.n, and has the
station 02:00:00:00:00:0n behind it. The node on the bench is number 1 and its peers begin at 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.vxlan.packets import address, ethernet, ipv4, ipv6, udp
from wgvx.dataplane.interface import Burst, Datagram, DataPlane, Network
from wgvx.drops import Reason
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.noise import TransportKeys
from wgvx.wireguard.sessions import Endpoint

SECOND = 1_000_000_000
START = 1_000 * SECOND
VNI = 42
UDP_PORT = 4789
MTU = 1420
PORT = 1
"""The one port of VNI 42."""
US = 1


def tunnel(number: int, family: int = 4) -> bytes:
    """The tunnel address of a node, packed."""
    return address(f"10.254.0.{number}" if family == 4 else f"fd00:fe::{number:x}")


def mac(number: int) -> bytes:
    """The MAC of the station at a node."""
    return b"\x02\0\0\0\0" + bytes([number])


def vxlan_header(vni: int = VNI, *, flags: int = 8, reserved: int = 0) -> bytes:
    """``reserved`` is the byte behind the VNI."""
    return bytes([flags, 0, 0, 0]) + vni.to_bytes(3, "big") + bytes([reserved])


def packet(
    payload: bytes,
    protocol: int = 17,
    *,
    source: int = 2,
    destination: int = US,
    family: int = 4,
    **more: Any,
) -> bytes:
    """A tunnel packet between two nodes; ``more`` goes to ``ipv4`` or ``ipv6``."""
    more |= {"source": tunnel(source, family), "destination": tunnel(destination, family)}
    if family == 4:
        return ipv4(payload, protocol=protocol, **more)
    return ipv6(payload, next_header=protocol, **more)


def datagram_of(
    frame: bytes,
    *,
    source: int = 2,
    destination: int = US,
    family: int = 4,
    vni: int = VNI,
    port: int = UDP_PORT,
    header: bytes | None = None,
) -> bytes:
    """A frame with its VXLAN and UDP headers."""
    head = vxlan_header(vni) if header is None else header
    ends = tunnel(source, family), tunnel(destination, family)
    return udp(head + frame, *ends, ports=(50000, port))


def carrying(
    frame: bytes,
    *,
    source: int = 2,
    destination: int = US,
    family: int = 4,
    vni: int = VNI,
    port: int = UDP_PORT,
    header: bytes | None = None,
    **more: Any,
) -> bytes:
    """The tunnel packet that carries a frame."""
    segment = datagram_of(
        frame,
        source=source,
        destination=destination,
        family=family,
        vni=vni,
        port=port,
        header=header,
    )
    return packet(segment, source=source, destination=destination, family=family, **more)


def frame_to(
    destination: int | bytes, source: int | bytes = 2, payload: bytes = bytes(46), **more: Any
) -> bytes:
    """A frame between stations, by their numbers or MACs; EtherType 0x88B5 unless told."""
    there = mac(destination) if isinstance(destination, int) else destination
    here = mac(source) if isinstance(source, int) else source
    return ethernet(payload, **{"ethertype": 0x88B5, **more}, destination=there, source=here)


class Peer:
    """The other end of a session: what it seals, the data plane opens, and the other way round."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.endpoint = Endpoint(b"\xc6\x12\0" + bytes([number]), 51820)
        self.sessions: list[Keypair] = []

    def new_session(self, *, initiator: bool, now: int) -> tuple[Keypair, TransportKeys]:
        """Our end of a new session, and the keys of the other end, which is ``initiator``."""
        count = len(self.sessions)
        here = TransportKeys(*(bytes([self.number, count, way]) * 10 + b"ab" for way in (0, 1)))
        session = Keypair(
            peer=self.number,
            local_index=(self.number << 16) + count,
            remote_index=(self.number << 16) + 0x8000 + count,
            keys=here,
            initiator=not initiator,
            birth=now,
        )
        self.sessions.append(session)
        return session, TransportKeys(send=here.receive, receive=here.send)

    def seal(self, plaintext: bytes, *, tos: int = 0, session: int = -1) -> Datagram:
        """Any plaintext at all, in a valid transport message."""
        return Datagram(self.sessions[session].seal(plaintext), self.endpoint, tos)

    def open(self, datagram: Datagram, now: int, *, session: int = -1) -> bytes:
        """The plaintext of what the data plane sent us."""
        return self.sessions[session].open(datagram.data, now)


class Rig:
    """A data plane with peers, one network unless told, and a session with each peer."""

    def __init__(
        self,
        dataplane_class: Callable[[], DataPlane],
        *,
        peers: int = 1,
        networks: Sequence[Network] = (Network(VNI),),
        forward: bool = False,
        sessions: bool = True,
    ) -> None:
        self.now = START
        self.dataplane = dataplane_class()
        self.dataplane.set_addresses([tunnel(US, 4), tunnel(US, 6)])
        self.dataplane.set_forward(forward)
        self.dataplane.set_mtu(MTU)
        self.peers = {number: Peer(number) for number in range(2, 2 + peers)}
        for number, peer in self.peers.items():
            self.dataplane.add_peer(number)
            self.dataplane.set_endpoint(number, peer.endpoint)
            self.dataplane.add_allowed_ip(number, (tunnel(number, 4), 32))
            self.dataplane.add_allowed_ip(number, (tunnel(number, 6), 128))
            if sessions:
                self.connect(peer)
        for port, network in enumerate(networks, PORT):
            self.dataplane.add_network(network)
            self.dataplane.add_port(network.vni, port, mac(US))
        self.peer = self.peers[2]

    def connect(self, peer: Peer, *, initiator: bool = True) -> None:
        """A session with a peer, in which the data plane is the ``initiator``."""
        session, keys = peer.new_session(initiator=initiator, now=self.now)
        self.dataplane.install(
            peer.number,
            local_index=session.remote_index,
            remote_index=session.local_index,
            keys=keys,
            initiator=initiator,
            now=self.now,
        )

    def receive(self, *plaintexts: bytes, peer: int = 2, tos: int = 0) -> Burst:
        """The peer sends these, sealed, in one burst."""
        sealed = [self.peers[peer].seal(plaintext, tos=tos) for plaintext in plaintexts]
        return self.dataplane.receive(sealed, self.now)

    def hear(self, *datagrams: bytes) -> Burst:
        """Somebody sends these from the peer's endpoint, in one burst."""
        sent = [Datagram(data, self.peer.endpoint) for data in datagrams]
        return self.dataplane.receive(sent, self.now)

    def transmit(self, *frames: bytes, port: int = PORT) -> Burst:
        """Frames enter on a port, in one burst."""
        return self.dataplane.transmit(port, frames, self.now)

    def opened(self, burst: Burst) -> list[tuple[int, bytes]]:
        """(peer, plaintext) of every datagram of a burst."""
        by_endpoint = {peer.endpoint.remote(): peer for peer in self.peers.values()}
        return [
            (peer.number, peer.open(datagram, self.now))
            for datagram in burst.datagrams
            for peer in (by_endpoint[datagram.endpoint.remote()],)
        ]

    def drops(self) -> dict[Reason, int]:
        """The counters that are not 0."""
        return {reason: count for reason, count in self.dataplane.drops().items() if count}

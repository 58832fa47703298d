"""A reference and a native data plane side by side: the same in, the same out, byte for byte.

What is done, is done to both, and after each step all that can be asked of a data plane is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.dataplane.rig import MTU, SECOND, START, US, Peer, mac, tunnel
from tests.support.segmenter import ContradictionError, VnetHeader, segment
from wgvx.dataplane.captured import Capture
from wgvx.dataplane.interface import Burst, Datagram, DataPlane, Network
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.drops import Reason
from wgvx.vxlan.mss import Mss
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.sessions import Endpoint

PUBLIC_KEY = bytes(range(32))
NETWORKS = (
    Network(42, mss=Mss(1310, 1290)),
    Network(43, udp_port=8472, learning=False),
    Network(46, udp_port=4790, ageing=10 * SECOND, max_entries=2, accept=((tunnel(2), 31),)),
)
DAY = 24 * 3600 * SECOND

__all__ = ["DAY", "NETWORKS", "PUBLIC_KEY", "Twins", "joining_class"]


def joining_class() -> type[Any]:
    """The native data plane; whatever frames it delivers, it also joins as for a TAP.

    Made on demand: there may be no native module. ``joined`` is what the last call's frames became,
    with their virtio-net headers; ``delivered`` what the frames were.
    """
    from wgvx.dataplane.native import NativeDataPlane, lib
    from wgvx.dataplane.native_types import ffi

    class JoiningDataPlane(NativeDataPlane):
        def __init__(self, aead: str) -> None:
            super().__init__(aead)
            self.delivered: list[tuple[int, bytes]] = []
            self.joined: list[tuple[VnetHeader, bytes]] = []

        def _drain(self, now: int) -> None:
            frames = self._frames()
            self.delivered += frames
            self.joined += self._join(sum(len(frame) + 14 for _, frame in frames))
            before = len(self._burst.frames)
            super()._drain(now)
            # Joining wrote its headers into them.
            self._burst.frames[before : before + len(frames)] = frames

        def _frames(self) -> list[tuple[int, bytes]]:
            number = lib.wgvx_pending(self._plane).frames
            taken = (lib.wgvx_take_frame(self._plane, i) for i in range(number))
            return [(frame.port, bytes(ffi.buffer(frame.data, frame.length))) for frame in taken]

        def _join(self, room: int) -> list[tuple[VnetHeader, bytes]]:
            if not room:
                return []
            out = ffi.new("uint8_t[]", room)
            used = lib.wgvx_coalesce_pending(self._plane, out, room)
            assert used
            joined, data = [], bytes(ffi.buffer(out, used))
            while data:
                length = int.from_bytes(data[:4], "little")
                joined.append((VnetHeader.unpack(data[4:14]), data[14 : 4 + length]))
                data = data[4 + length :]
            return joined

    return JoiningDataPlane


def _by_port(frames: Sequence[tuple[int, bytes]]) -> dict[int, list[bytes]]:
    ports: dict[int, list[bytes]] = {}
    for port, frame in frames:
        ports.setdefault(port, []).append(frame)
    return ports


class Twins:
    """Both data planes, the other ends of their sessions, and the time."""

    def __init__(self, native: Any, *, peers: int = 3, forward: bool = True) -> None:
        self.reference: DataPlane = ReferenceDataPlane()
        self.native = native
        self.now = START
        self.peers: dict[int, Peer] = {}
        self.ports: list[int] = []
        self.network_of_port: dict[int, int] = {}
        self.networks: dict[int, Network] = {}
        self.joins = 0
        """How many frames went into another one's write."""
        self._next_peer = 2
        self.both("set_addresses", [tunnel(US, 4), tunnel(US, 6)])
        self.both("set_forward", forward)
        self.both("set_mtu", MTU)
        self.both("set_public_key", PUBLIC_KEY)
        self.both("set_capture", Capture.FRAMES | Capture.DATAGRAMS, 4096)
        for network in NETWORKS:
            self.add_network(network)
            self.add_port(network.vni, mac(US))
        self.add_port(46, None)
        for _ in range(peers):
            self.add_peer()
            self.connect(self._next_peer - 1, initiator=True)

    # --- one call, two data planes -----------------------------------------------------------

    def both(self, name: str, *args: Any, **more: Any) -> Any:
        """A method of both; what it returns, or the ValueError that it raises, is the same."""
        one, other = (
            _outcome(getattr(plane, name), *args, **more) for plane in (self.reference, self.native)
        )
        assert one == other, f"{name}{args}{more}: the reference gives {one}, native {other}"
        return one

    def receive(self, datagrams: Sequence[Datagram]) -> Burst:
        """Datagrams from the underlay."""
        burst: Burst = self.both("receive", datagrams, self.now)
        self._check_joined()
        self._forward(burst)
        return burst

    def transmit(self, port: int, frames: Sequence[bytes]) -> Burst:
        """Frames that enter on a port."""
        burst: Burst = self.both("transmit", port, frames, self.now)
        self._check_joined()
        self._forward(burst)
        return burst

    def _forward(self, burst: Burst) -> None:
        """Watched frames go on; what comes of it is compared with the next look."""
        for vni, origin, frame in burst.watched:
            self.both("forward_frame", vni, origin, frame, self.now)
            self.both("take")
            self._check_joined()

    def transmit_large(self, port: int, header: VnetHeader, frame: bytes) -> None:
        """A super-frame, which the reference is given cut."""
        self.check_captured()
        got = self.native.transmit_large(port, header.pack(), frame, self.now)
        try:
            cut = segment(header, frame)
        except ContradictionError:
            reason = Reason.SHORT_FRAME if len(frame) < 14 else Reason.INNER_MALFORMED
            self.reference.count(reason)
            cut = []
        wanted = self.reference.transmit(port, cut, self.now)
        assert got.datagrams == wanted.datagrams
        assert got.events == wanted.events
        assert got.watched == wanted.watched
        # To another port it goes as it came: large.
        assert len(self.native.joined) == len(got.frames)
        pieces = [
            (to, piece)
            for (to, _), (kept, large) in zip(got.frames, self.native.joined, strict=True)
            for piece in segment(kept, large)
        ]
        assert _by_port(pieces) == _by_port(wanted.frames)
        self.native.delivered.clear()
        self.native.joined.clear()
        self.check_captured(Capture.DATAGRAMS)
        self._forward(got)

    def _check_joined(self) -> None:
        """Joined, and cut again as a kernel cuts them, frames are what they were."""
        delivered, joined = self.native.delivered, self.native.joined
        cut = [piece for header, frame in joined for piece in segment(header, frame)]
        assert cut == [frame for _, frame in delivered]
        self.joins += len(delivered) - len(joined)
        delivered.clear()
        joined.clear()

    def check(self) -> None:
        """All that can be asked of them."""
        self.both("take")
        self._check_joined()
        self.both("drops")
        self.check_captured()
        for vni in self.networks:
            self.both("fdb_rows", vni, self.now)
            self.both("fdb_moves", vni)
            self.both("network_counters", vni)
        for number, peer in self.peers.items():
            for name in ("stamps", "peer_counters", "endpoint", "has_endpoint", "allowed_ips"):
                self.both(name, number)
            for session in peer.sessions:
                self.both("index_peer", session.remote_index)
        for number in range(1, self._next_peer + 1):
            for family in (4, 6):
                self.both("route", tunnel(number, family))

    def check_captured(self, kinds: Capture = Capture.FRAMES | Capture.DATAGRAMS) -> None:
        """The same passed, at whatever time it was; frames are not the same where only the native
        one has had them large.
        """
        taken = []
        for plane in (self.reference, self.native):
            copies, lost = plane.take_captured()
            assert lost == 0
            taken.append(
                [
                    copy._replace(at=0)
                    for copy in copies
                    if Capture.FRAMES in kinds or not copy.what.is_frame
                ]
            )
        assert taken[0] == taken[1]

    # --- the world around them ---------------------------------------------------------------

    def add_network(self, network: Network) -> None:
        self.both("add_network", network)
        self.networks[network.vni] = network

    def set_network(self, network: Network) -> None:
        self.both("set_network", network)
        self.networks[network.vni] = network

    def add_port(self, vni: int, mac: bytes | None) -> None:
        self.ports.append(len(self.ports) + 1)
        self.network_of_port[self.ports[-1]] = vni
        self.both("add_port", vni, self.ports[-1], mac)

    def add_peer(self) -> None:
        """With the addresses of its number, and without a session."""
        number = self._next_peer
        self._next_peer += 1
        peer = self.peers[number] = Peer(number)
        if number % 2:  # It uses an address of ours that we know.
            peer.endpoint = peer.endpoint._replace(local=b"\xc6\x12\0\1")
        self.both("add_peer", number)
        self.both("set_endpoint", number, peer.endpoint)
        self.both("add_allowed_ip", number, (tunnel(number, 4), 32))
        self.both("add_allowed_ip", number, (tunnel(number, 6), 128))

    def remove_peer(self, number: int) -> None:
        self.both("remove_peer", number)
        for session in self.peers.pop(number).sessions:
            self.both("index_peer", session.remote_index)

    def connect(self, number: int, *, initiator: bool) -> Keypair:
        """A session, in which the data planes are the ``initiator``; the other end's."""
        session, keys = self.peers[number].new_session(initiator=initiator, now=self.now)
        self.both(
            "install",
            number,
            local_index=session.remote_index,
            remote_index=session.local_index,
            keys=keys,
            initiator=initiator,
            now=self.now,
        )
        return session

    def seal(self, number: int, plaintext: bytes, tos: int, session: int) -> Datagram | None:
        """A datagram of a peer; None of one that never had a session."""
        peer = self.peers[number]
        if not peer.sessions:
            return None
        return peer.seal(plaintext, tos=tos, session=max(session, -len(peer.sessions)))


def _outcome(call: Callable[..., Any], *args: Any, **more: Any) -> Any:
    try:
        return call(*args, **more)
    except ValueError as error:
        return type(error), str(error)


def elsewhere(endpoint: Endpoint, how: int) -> Endpoint:
    """One of several endpoints that are not quite this one."""
    return (
        endpoint._replace(port=1000),
        endpoint._replace(local=b"\xc6\x12\0\1"),
        endpoint._replace(local=b"\xc6\x12\0\1", interface=2),
        endpoint._replace(local=b"\xc6\x12\0\2"),
        Endpoint(b"\xfd" + bytes(14) + endpoint.ip[-1:], 51820),
        Endpoint(b"\xfe\x80" + bytes(13) + endpoint.ip[-1:], 51820, 3, b"\xfe\x80" + bytes(14)),
    )[how % 6]

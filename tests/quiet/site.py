"""One network with a feature, on the bench: ports 1 and 2, VTEPs 2 and 3 behind peers.

Its own station has the MAC ``mac(US)``; what a VTEP sends comes from a peer's session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.dataplane.rig import PORT, SECOND, US, VNI, Rig, carrying, mac, tunnel
from wgvx.dataplane.interface import Burst, DataPlane, Network
from wgvx.quiet.feature import Feature, Surroundings
from wgvx.vxlan.fdb import FLOOD
from wgvx.vxlan.header import HEADER_LENGTH

SECOND_PORT = 2
VXLAN_IN_PACKET = 20 + 8 + HEADER_LENGTH
"""Bytes before the frame in a tunnel packet of IPv4."""


class Site:
    """A data plane, and what a feature makes of the frames that it hands up."""

    def __init__(
        self, dataplane_class: Callable[[], DataPlane], feature: type[Feature], *, ageing: int = 300
    ) -> None:
        self.rig = Rig(dataplane_class, peers=2)
        self.dataplane = self.rig.dataplane
        self.said: list[str] = []
        self.dataplane.add_port(VNI, SECOND_PORT, None)
        self.dataplane.set_network(Network(VNI, watch=feature.kinds))
        for number in (2, 3):
            self.dataplane.fdb_add(VNI, FLOOD, tunnel(number))
        ports: Mapping[int, bytes | None] = {PORT: mac(US), SECOND_PORT: None}
        self.feature = feature(
            Surroundings(
                vni=VNI,
                bridge=self.dataplane,
                ports=ports,
                ageing=lambda: ageing * SECOND,
                identity=bytes(8),
                random=lambda length: bytes(range(length)),
                port_name=lambda port: f"port{port}",
                say=self.said.append,
            )
        )

    @property
    def now(self) -> int:
        """Nanoseconds."""
        return self.rig.now

    def wait(self, seconds: float) -> Site:
        """Time passes, timers fire, and the peers have new sessions."""
        until = self.rig.now + int(seconds * SECOND)
        while (at := self.feature.next_deadline()) is not None and at <= until:
            self.rig.now = max(self.rig.now, at)
            self.feature.expire(self.rig.now)
        self.rig.now = until
        for peer in self.rig.peers.values():
            self.rig.connect(peer)
        return self

    def enters(self, frame: bytes, port: int = PORT) -> tuple[dict[int, list[bytes]], list[int]]:
        """What ports get of a frame that enters at one, and the VTEPs that it goes to."""
        return self._settle(self.rig.transmit(frame, port=port))

    def arrives(self, frame: bytes, vtep: int = 2) -> tuple[dict[int, list[bytes]], list[int]]:
        """The same of one that comes from a VTEP."""
        return self._settle(self.rig.receive(carrying(frame, source=vtep), peer=vtep))

    def leaves(self) -> tuple[dict[int, list[bytes]], list[tuple[int, bytes]]]:
        """What timers made: frames by port, and frames to VTEPs."""
        burst = self.dataplane.take()
        frames: dict[int, list[bytes]] = {}
        for port, frame in burst.frames:
            frames.setdefault(port, []).append(frame)
        sent = self.rig.opened(burst)
        return frames, [(peer, packet[VXLAN_IN_PACKET:]) for peer, packet in sent]

    def _settle(self, burst: Burst) -> tuple[dict[int, list[bytes]], list[int]]:
        for vni, origin, frame in burst.watched:
            assert vni == VNI
            if not self.feature.handle(origin, frame, self.rig.now):
                self.dataplane.forward_frame(vni, origin, frame, self.rig.now)
        burst.add(self.dataplane.take())
        frames: dict[int, list[bytes]] = {}
        for port, frame in burst.frames:
            frames.setdefault(port, []).append(frame)
        return frames, sorted(peer for peer, _ in self.rig.opened(burst))

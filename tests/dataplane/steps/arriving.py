"""Steps that arrive from the network: sealed tunnel packets, one by one and in long bursts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.dataplane.mixture import PING
from tests.dataplane.rig import US, carrying, mac, packet
from tests.dataplane.steps.flows import TYPES, inner_packet
from tests.dataplane.steps.step import Step, families, numbers, pick
from tests.dataplane.steps.tunnel_packets import tunnel_packets
from tests.dataplane.twins import Twins, elsewhere
from tests.support.segmenter import TCP, UDP
from tests.vxlan.packets import BROADCAST, ethernet
from wgvx.dataplane.interface import Datagram
from wgvx.wireguard.constants import REJECT_AFTER_MESSAGES

FATES = (*["arrives"] * 8, "twice", "forged", "cut", "from elsewhere", "late")
sessions = st.sampled_from([-1, -1, -1, -1, -2, -3, -4])
JUMPS = (0, 0, 0, 0, 1, 63, 64, 65, 8127, 8128, 8129, 1 << 40, -1, -64, -8128, -8129)


def _altered(sealed: Datagram, fate: str, how: int) -> list[Datagram]:
    data = sealed.data
    match fate:
        case "twice":
            return [sealed, sealed]
        case "forged":
            return [sealed._replace(data=data[:-1] + bytes([data[-1] ^ 1]))]
        case "cut":
            return [sealed._replace(data=data[: len(data) * how // 4])]
        case "from elsewhere":
            return [sealed._replace(endpoint=elsewhere(sealed.endpoint, how))]
    return [sealed]


@dataclass(frozen=True)
class Arrive:
    """A peer sends plaintexts, and something becomes of each of them on the way."""

    peer: int
    session: int
    plaintexts: tuple[tuple[bytes, str], ...]
    tos: int
    how: int
    jump: int = 0
    """How far the session's counter is set on, or back, before."""
    equal: bool = False
    """All as long as the longest, by padding: one run to native.py."""

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is None or not twins.peers[number].sessions:
            return
        held = twins.peers[number].sessions
        keypair = held[max(self.session, -len(held))]
        keypair.send_counter = min(max(0, keypair.send_counter + self.jump), REJECT_AFTER_MESSAGES)
        longest = max((len(plaintext) for plaintext, _ in self.plaintexts), default=0)
        burst: list[Datagram] = []
        late: list[Datagram] = []
        for plaintext, fate in self.plaintexts:
            padded = plaintext.ljust(longest, b"\0") if self.equal else plaintext
            sealed = twins.seal(number, padded, self.tos, self.session)
            assert sealed is not None
            (late if fate == "late" else burst).extend(_altered(sealed, fate, self.how))
        twins.receive(burst + late[::-1])


@st.composite
def arrivals(draw: st.DrawFn) -> Arrive:
    peer = draw(numbers)
    groups = draw(st.lists(tunnel_packets(peer % 3 + 2), min_size=1, max_size=6))
    plaintexts = [plaintext for group in groups for plaintext in group]
    return Arrive(
        peer,
        draw(sessions),
        tuple((plaintext, draw(st.sampled_from(FATES))) for plaintext in plaintexts),
        draw(st.sampled_from([0, 0, 1, 2, 3, 0xFF])),
        draw(numbers),
        draw(st.sampled_from(JUMPS)),
        draw(st.booleans()),
    )


@dataclass(frozen=True)
class Stream:
    """A long burst of one flow as UDP_GRO brings it, and perhaps a stranger in its midst."""

    peer: int
    destination: int
    """Of the tunnel packets: us, or a peer that they are relayed to."""
    families: tuple[int, int]
    """Of the tunnel and of the flow."""
    protocol: int
    payload: int
    count: int
    ecn: tuple[int, int, int]
    """Of the datagrams, of the tunnel packets and of the flow."""
    odd: tuple[int, bytes]
    """Where, and what: a plaintext."""
    strides: tuple[int, int] = (1, 1)
    """How IPv4 identifications and TCP's sequence numbers count up."""
    station: bytes = mac(US)

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is None:
            return
        outer, inner = self.families
        tos: dict[str, Any] = {"tos" if outer == 4 else "traffic_class": self.ecn[1]}
        plaintexts = []
        for n in range(self.count):
            payload = self.payload // 2 if n == self.count - 1 else self.payload
            identification, sent = (n * stride for stride in self.strides)
            flow = inner_packet(
                inner, self.protocol, self.ecn[2], payload, identification, sent * self.payload
            )
            frame = ethernet(flow, TYPES[inner], destination=self.station, source=mac(number))
            made = carrying(frame, source=number, destination=self.destination, family=outer, **tos)
            plaintexts.append(made.ljust(-(-len(made) // 16) * 16, b"\0"))
        where, odd = self.odd
        if odd and plaintexts:
            plaintexts.insert(where % self.count, odd.ljust(len(plaintexts[0]), b"\0"))
        sealed = (twins.seal(number, plaintext, self.ecn[0], -1) for plaintext in plaintexts)
        twins.receive([datagram for datagram in sealed if datagram is not None])


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    ecns = st.integers(0, 3)
    strides = st.sampled_from([1, 1, 1, 0, 2])
    ping = packet(PING, 1)
    odd = draw(st.sampled_from([b"", b"", ping, packet(bytes(16), flags=0x2000), b"\x45"]))
    return Stream(
        draw(numbers),
        draw(st.sampled_from([US, US, US, US, 3, 4])),
        (draw(families), draw(families)),
        draw(st.sampled_from([TCP, TCP, UDP])),
        draw(st.sampled_from([1, 48, 100, 536, 1200])),
        draw(st.sampled_from([2, 3, 17, 50, 64, 66])),
        (draw(ecns), draw(ecns), draw(ecns)),
        (draw(numbers), odd),
        (draw(strides), draw(strides)),
        draw(st.sampled_from([mac(US), mac(3), BROADCAST])),
    )


incoming: st.SearchStrategy[Step] = st.one_of(arrivals(), arrivals(), streams())

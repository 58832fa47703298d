"""What may happen to a data plane, for hypothesis to draw sequences of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from tests.dataplane.rig import (
    PORT,
    US,
    VNI,
    Rig,
    carrying,
    datagram_of,
    frame_to,
    packet,
    tunnel,
    vxlan_header,
)
from tests.vxlan.packets import BROADCAST, ipv4, ipv6, naive_checksum
from wgvx.dataplane.interface import Burst, Datagram
from wgvx.wireguard.sessions import Event


class In(NamedTuple):
    """A plaintext that a peer seals, and what becomes of the datagram on its way."""

    peer: int
    plaintext: bytes
    tos: int
    fate: str


class Out(NamedTuple):
    """A frame that enters on the port."""

    frame: bytes


Step = In | Out

FATES = ("arrives", "arrives", "arrives", "twice", "forged", "cut", "from elsewhere")
_PING = b"\x08\0\0\0\0\1\0\1"
PING = _PING[:2] + naive_checksum(_PING).to_bytes(2, "big") + _PING[4:]


def _frames(destinations: Iterable[int | bytes], source: int) -> list[bytes]:
    frames = []
    for destination in destinations:
        frames += [
            frame_to(destination, source),
            frame_to(destination, source, ipv4(bytes(30), tos=2), ethertype=0x0800),
            frame_to(destination, source, ipv6(bytes(900), traffic_class=3), ethertype=0x86DD),
            frame_to(destination, source, bytes(1300), tags=((0x8100, 7),)),
            frame_to(destination, source, b""),
        ]
    return frames


def plaintexts(number: int) -> list[bytes]:
    """What a peer may well send: frames in every wrapping, pings, relays, fragments, rubbish."""
    segment = datagram_of(frame_to(US, number, bytes(1000)), source=number)
    frames = _frames((US, BROADCAST, 3, 9), number) + _frames((US,), 9)
    return [
        *(carrying(frame, source=number) for frame in frames),
        *(carrying(frame, source=number, family=6, traffic_class=1) for frame in frames[:5]),
        carrying(frames[1], source=number, tos=3),
        carrying(frames[0], source=number, vni=VNI + 1),
        carrying(frames[0], source=number, header=vxlan_header(reserved=9)),
        carrying(frames[0], source=number % 4 + 2),
        *(carrying(frames[0], source=number, destination=n) for n in (2, 3, 4, 99)),
        carrying(frames[0], source=number, destination=3, ttl=1),
        packet(segment[:800], source=number, flags=0x2000),
        packet(segment[800:], source=number, flags=100),
        packet(segment[400:808], source=number, flags=0x2000 | 50),
        packet(PING, 1, source=number),
        packet(PING, 6, source=number),
        b"",
        b"\0",
        b"\x45",
    ]


PLAINTEXTS = {number: plaintexts(number) for number in (2, 3, 4)}
FRAMES = [
    *_frames((2, 3, 9, US, BROADCAST), US),
    *_frames((2, BROADCAST), 9),
    frame_to(2, US, bytes(1400)),
    frame_to(2, b"\1" + bytes(5)),
    frame_to(bytes.fromhex("0180c200000e"), US),
    b"",
    bytes(13),
]


@st.composite
def _ins(draw: st.DrawFn) -> In:
    number = draw(st.sampled_from(sorted(PLAINTEXTS)))
    return In(
        number,
        draw(st.sampled_from(PLAINTEXTS[number])),
        draw(st.integers(0, 3)),
        draw(st.sampled_from(FATES)),
    )


steps = st.lists(_ins() | st.sampled_from(FRAMES).map(Out), max_size=60)


def datagrams(rig: Rig, step: In) -> list[Datagram]:
    """The step as it reaches the socket."""
    sealed = rig.peers[step.peer].seal(step.plaintext, tos=step.tos)
    match step.fate:
        case "twice":
            return [sealed, sealed]
        case "forged":
            return [sealed._replace(data=sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]))]
        case "cut":
            return [sealed._replace(data=sealed.data[: len(sealed.data) // 2])]
        case "from elsewhere":
            return [sealed._replace(endpoint=sealed.endpoint._replace(port=1000))]
    return [sealed]


def prepare(rig: Rig) -> None:
    """A flood list, a static entry, and one peer each without a key and without an endpoint."""
    for number in (2, 3):
        rig.dataplane.fdb_add(VNI, bytes(6), tunnel(number))
    rig.dataplane.fdb_add(VNI, frame_to(9)[:6], tunnel(4))
    rig.dataplane.set_endpoint(4, None)
    rig.connect(rig.peers[3], initiator=False)


def run_one_by_one(rig: Rig, sequence: Sequence[Step]) -> list[Burst]:
    """Each packet in a call of its own."""
    bursts = []
    for step in sequence:
        if isinstance(step, Out):
            bursts.append(rig.transmit(step.frame))
        else:
            arriving = datagrams(rig, step)
            bursts += [rig.dataplane.receive([datagram], rig.now) for datagram in arriving]
    return bursts


def run_in_bursts(rig: Rig, sequence: Sequence[Step]) -> list[Burst]:
    """As many packets as come one behind the other from one side, in one call."""
    bursts = []
    frames: list[bytes] = []
    arriving: list[Datagram] = []

    def flush() -> None:
        if frames:
            bursts.append(rig.dataplane.transmit(PORT, list(frames), rig.now))
        if arriving:
            bursts.append(rig.dataplane.receive(list(arriving), rig.now))
        frames.clear()
        arriving.clear()

    for step in sequence:
        if (isinstance(step, Out) and arriving) or (isinstance(step, In) and frames):
            flush()
        if isinstance(step, Out):
            frames.append(step.frame)
        else:
            arriving += datagrams(rig, step)
    flush()
    return bursts


def events(bursts: Iterable[Burst]) -> dict[int, Event]:
    """What all of them ask for, together."""
    asked: dict[int, Event] = {}
    for burst in bursts:
        for peer, event in burst.events.items():
            asked[peer] = asked.get(peer, Event(0)) | event
    return asked


def state(rig: Rig) -> tuple[object, ...]:
    """All that can be asked of a data plane."""
    plane = rig.dataplane
    return (
        plane.drops(),
        plane.fdb_rows(VNI, rig.now),
        plane.network_counters(VNI),
        [
            (plane.stamps(n), plane.peer_counters(n), plane.endpoint(n), plane.allowed_ips(n))
            for n in rig.peers
        ],
    )

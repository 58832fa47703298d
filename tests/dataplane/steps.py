"""What may happen to a pair of data planes, for hypothesis to draw sequences of.

Steps name peers, ports and networks by any number at all: it is taken modulo how many there are, so
that a sequence stays one when hypothesis takes steps out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle, islice, pairwise
from typing import Any, Protocol

from hypothesis import strategies as st

from tests.dataplane.mixture import FRAMES, PING, PLAINTEXTS
from tests.dataplane.rig import (
    SECOND,
    US,
    carrying,
    datagram_of,
    mac,
    packet,
    tunnel,
    vxlan_header,
)
from tests.dataplane.twins import DAY, PUBLIC_KEY, Twins, elsewhere
from tests.native.superframes import SuperFrame, super_frames, tcp_segment, udp_datagram
from tests.support.segmenter import NEEDS_CSUM, TCP, TCPV4, UDP, UDP_L4, VnetHeader
from tests.vxlan.packets import (
    BROADCAST,
    address,
    ethernet,
    fragment_header,
    ipv4,
    ipv6,
    mutated,
    naive_checksum,
    pseudo_header,
)
from wgvx.dataplane.interface import Datagram, Network
from wgvx.drops import Reason
from wgvx.wireguard import cookie
from wgvx.wireguard.allowed_ips import masked
from wgvx.wireguard.constants import REJECT_AFTER_MESSAGES
from wgvx.wireguard.crypto import mac as keyed
from wgvx.wireguard.sessions import CookieDemand, Endpoint, Event


class Step(Protocol):
    """One thing that happens."""

    def run(self, twins: Twins) -> None:
        """Let it happen to both."""


def _pick(number: int, among: Iterable[int]) -> int | None:
    choices = list(among)
    return choices[number % len(choices)] if choices else None


numbers = st.integers(0, 7)

# --- frames -----------------------------------------------------------------------------------

STATIONS = [mac(n) for n in (US, 2, 3, 4, 5, 9)]
GROUPS = [BROADCAST, bytes.fromhex("01005e000001"), bytes.fromhex("333300000001")]
RESERVED = [bytes.fromhex("0180c2000000"), bytes.fromhex("0180c200000e")]
macs = st.sampled_from([*STATIONS, *GROUPS, *RESERVED, bytes(6)])
sources = st.sampled_from(STATIONS) | st.sampled_from(STATIONS) | macs

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def _checked(upper: bytes, protocol: int, ends: tuple[bytes, bytes]) -> bytes:
    at = 16 if protocol == TCP else 6
    check = naive_checksum(pseudo_header(*ends, protocol, len(upper)) + upper) or 0xFFFF
    return upper[:at] + check.to_bytes(2, "big") + upper[at + 2 :]


@lru_cache(maxsize=1000)
def inner_packet(
    version: int, protocol: int, tos: int, payload: int, number: int, before: int = 0
) -> bytes:
    """A flow's ``number``-th packet; TCP has sent so many bytes ``before``."""
    ends = (A, B) if version == 4 else (bytes(12) + A, bytes(12) + B)
    data = bytes([number & 0xFF]) * payload
    if protocol == TCP:
        upper = _checked(tcp_segment(data, seq=1000 + before), TCP, ends)
    else:
        upper = _checked(udp_datagram(data), UDP, ends)
    if version == 4:
        more: dict[str, Any] = {"source": ends[0], "destination": ends[1], "tos": tos}
        return ipv4(upper, protocol=protocol, identification=number, flags=0x4000, **more)
    more = {"source": ends[0], "destination": ends[1], "traffic_class": tos}
    return ipv6(upper, next_header=protocol, **more)


TYPES = {4: 0x0800, 6: 0x86DD}
INNER: list[tuple[int, bytes]] = [
    (0x88B5, b""),
    (0x88B5, bytes(46)),
    (0x0806, bytes(28)),
    *(
        (TYPES[version], inner_packet(version, protocol, tos, payload, 7))
        for version in (4, 6)
        for protocol in (TCP, UDP)
        for tos, payload in ((0, 0), (1, 1), (2, 100), (3, 1000))
    ),
    (0x0800, ipv4(bytes(30), tos=1, options=b"\1\1\1\1")),
    (0x0800, ipv4(bytes(30), tos=2, flags=0x2000)),
    (0x0800, ipv4(bytes(30), tos=2, flags=0x0007)),
    (0x0800, ipv4(bytes(30), tos=3, total_length=40)),
    (0x0800, ipv4(udp_datagram(bytes(9)), tos=2)),  # Without a checksum.
    (0x0800, ipv4(tcp_segment(bytes(9)), protocol=6)),  # With a wrong one.
    (0x0800, ipv4(bytes(30))[:19]),
    (0x0800, ipv6(bytes(30))),
    (0x86DD, ipv6(bytes(30), traffic_class=2, payload_length=20)),
    (0x86DD, ipv6(b"\x11\0\1\4" + bytes(4) + udp_datagram(bytes(9)), next_header=60)),
    (0x86DD, ipv6(bytes(30))[:39]),
]
TAGS = [(), (), (), ((0x8100, 7),), ((0x88A8, 1), (0x8100, 2)), ((0x8100, 3),) * 9]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """From any station to any, with anything in it."""
    ethertype, payload = draw(st.sampled_from(INNER))
    payload += draw(st.sampled_from([b"", b"", b"", b"", bytes(7)]))
    made = ethernet(
        payload,
        ethertype,
        destination=draw(macs),
        source=draw(sources),
        tags=draw(st.sampled_from(TAGS)),
    )
    return made[: draw(st.sampled_from([*[len(made)] * 9, 13, 15]))]


any_frames = st.one_of(frames(), frames(), st.sampled_from(FRAMES), mutated(FRAMES[:30]))

# --- tunnel packets ----------------------------------------------------------------------------

families = st.sampled_from((4, 4, 6))
EXTENSIONS = [
    (60, b"\x11\0\1\4" + bytes(4)),
    (0, b"\x3c\0\1\4" + bytes(4) + b"\x11\0\1\4" + bytes(4)),
    (43, b"\x11\0\0\0" + bytes(4)),
    (43, b"\x11\0\0\1" + bytes(4)),
    (44, fragment_header(17, 0, False, 7)),
]


NETS = [(42, 4789)] * 5 + [(43, 8472)] * 2 + [(46, 4790)] * 2 + [(43, 4789), (44, 4790), (45, 4789)]


@st.composite
def carried(draw: st.DrawFn, number: int) -> list[bytes]:
    """A frame from a peer, in a tunnel packet that is, now and then, not quite right."""
    family = draw(families)
    more: dict[str, Any] = {"tos" if family == 4 else "traffic_class": draw(st.integers(0, 3))}
    more |= {"ttl" if family == 4 else "hop_limit": draw(st.sampled_from([64, 64, 64, 2, 1]))}
    if family == 4:
        more["options"] = draw(st.sampled_from([b"", b"", b"", b"\x94\4\0\0"]))
    vni, port = draw(st.sampled_from(NETS))
    made = carrying(
        draw(any_frames),
        source=draw(st.sampled_from([number, number, number, 5, US])),
        destination=draw(st.sampled_from([US, US, US, US, 2, 3, 4, 5, 99])),
        family=family,
        vni=vni,
        port=port,
        header=draw(
            st.sampled_from([None] * 9 + [vxlan_header(reserved=1), vxlan_header(flags=0)])
        ),
        **more,
    )
    return [made]


@st.composite
def fragments(draw: st.DrawFn, number: int) -> list[bytes]:
    """One tunnel packet in pieces, of which some are missing, twice there, or out of order."""
    family = draw(families)
    segment = datagram_of(draw(frames()), source=number, family=family)
    cuts = sorted({0, len(segment), *draw(st.lists(st.integers(0, 1000).map(lambda n: n & ~7)))})
    name, ecn = draw(st.integers(0, 2)), draw(st.integers(0, 3))
    pieces = []
    for start, end in pairwise(cuts):
        data, last = segment[start:end], end >= len(segment)
        if family == 4:
            flags = start // 8 | (not last) << 13
            pieces.append(packet(data, source=number, flags=flags, identification=name, tos=ecn))
        else:
            head = fragment_header(17, start, not last, name)
            pieces.append(packet(head + data, 44, source=number, family=6, traffic_class=ecn))
    return draw(st.permutations(pieces)) if draw(st.booleans()) else pieces


@st.composite
def rare(draw: st.DrawFn, number: int) -> list[bytes]:
    """Pings and extension headers."""
    family = draw(families)
    if draw(st.booleans()):
        echo = PING[:4] + draw(st.sampled_from([PING[4:], PING[4:] + bytes(56)]))
        if family == 4:
            return [packet(echo, 1, source=number)]
        ends = tunnel(number, 6), tunnel(US, 6)
        echo = b"\x80\0\0\0" + echo[4:]
        check = naive_checksum(pseudo_header(*ends, 58, len(echo)) + echo)
        return [packet(echo[:2] + check.to_bytes(2, "big") + echo[4:], 58, source=number, family=6)]
    first, headers = draw(st.sampled_from(EXTENSIONS))
    segment = datagram_of(draw(frames()), source=number, family=6)
    return [packet(headers + segment, first, source=number, family=6)]


STRANGE = {
    4: [address(text) for text in ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255")]
    + [address(text) for text in ("169.254.0.1", "192.0.2.1", "0.0.0.1", "126.255.255.255")],
    6: [address(text) for text in ("::", "::1", "::2", "ff02::1", "fe80::1", "2001:db8::1")],
}


@st.composite
def strange(draw: st.DrawFn, number: int) -> list[bytes]:
    """From and to addresses that no host has, or not every one."""
    family = draw(families)
    ends = st.sampled_from([*STRANGE[family], tunnel(number, family), tunnel(US, family)])
    return [between(draw(ends), draw(ends))]


def between(source: bytes, destination: bytes) -> bytes:
    """A tunnel packet, of whoever has these addresses."""
    build = ipv4 if len(source) == 4 else ipv6
    return build(bytes(20), source=source, destination=destination)


@lru_cache
def tunnel_packets(number: int) -> st.SearchStrategy[list[bytes]]:
    """Plaintexts of a peer."""
    known = PLAINTEXTS[number] if number in PLAINTEXTS else PLAINTEXTS[2]
    return st.one_of(
        carried(number),
        carried(number),
        st.sampled_from(known).map(lambda plaintext: [plaintext]),
        mutated([plaintext for plaintext in known if plaintext]).map(lambda changed: [changed]),
        fragments(number),
        rare(number),
        strange(number),
    )


# --- datagrams in ------------------------------------------------------------------------------

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
        number = _pick(self.peer, twins.peers)
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
        number = _pick(self.peer, twins.peers)
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


@dataclass(frozen=True)
class Handshake:
    """A handshake message to us, with its macs right or wrong."""

    kind: int
    mac1: bool
    mac2: str
    peer: int
    index: int
    """Which of ours it claims to answer: one of INDICES, or else a session's."""
    change: int

    def run(self, twins: Twins) -> None:
        length = {1: 148, 2: 92, 3: 64}.get(self.kind, 40)
        endpoint = elsewhere(Endpoint(b"\xc6\x12\0\2", 51820), self.peer)
        index = self.index
        if index not in INDICES:
            held = [session for peer in twins.peers.values() for session in peer.sessions]
            index = held[self.peer % len(held)].remote_index if held else 0
        message = bytes([self.kind, 0, 0, 0]) + bytes(range(self.change, self.change + length - 4))
        at = 8 if self.kind == 2 else 4
        message = message[:at] + index.to_bytes(4, "little") + message[at + 4 :]
        if self.mac1 and length > 64:
            mac1 = keyed(cookie.mac1_key(PUBLIC_KEY), message[:-32])
            message = message[:-32] + mac1 + message[-16:]
        if self.mac2 != "noise" and length > 64:
            secret = SECRETS[self.mac2 == "old"]
            mac2 = keyed(cookie.make_cookie(secret, endpoint), message[:-16])
            message = message[:-16] + (bytes(16) if self.mac2 == "none" else mac2)
        message += bytes(self.change == 99)
        twins.receive([Datagram(message, endpoint, 0x88)])


SECRETS = (b"s" * 32, b"t" * 32)
INDICES = (7, 8)

handshakes = st.builds(
    Handshake,
    st.sampled_from([1, 1, 1, 2, 2, 3, 4, 5]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from(["right", "right", "none", "old", "noise"]),
    numbers,
    st.sampled_from([7, 7, 8, 9]),
    st.sampled_from([0, 1, 2, 99]),
)


@dataclass(frozen=True)
class Demand:
    """From now on, and for so many seconds, messages need a mac2."""

    seconds: int

    def run(self, twins: Twins) -> None:
        until = twins.now + self.seconds * SECOND
        twins.both("demand_cookies", CookieDemand(SECRETS[0], b"n" * 32, until))


# --- frames in ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Enter:
    """Frames enter on a port, as often as said."""

    port: int
    frames: tuple[bytes, ...]
    times: int = 1

    def run(self, twins: Twins) -> None:
        port = _pick(self.port, twins.ports)
        assert port is not None
        twins.transmit(port, list(islice(cycle(self.frames), len(self.frames) * self.times)))


entries = st.builds(
    Enter,
    numbers,
    st.lists(any_frames, min_size=1, max_size=8).map(tuple),
    st.sampled_from([1] * 9 + [20]),
)
overflow = st.builds(Enter, numbers, frames().map(lambda frame: (frame,)), st.just(133))


@dataclass(frozen=True)
class EnterLarge:
    """A super-frame enters on a port, or what claims to be one."""

    port: int
    header: VnetHeader
    frame: bytes

    def run(self, twins: Twins) -> None:
        port = _pick(self.port, twins.ports)
        assert port is not None
        twins.transmit_large(port, self.header, self.frame)


@st.composite
def large_entries(draw: st.DrawFn) -> EnterLarge:
    made: SuperFrame = draw(super_frames(max_payload=4000))
    frame = draw(macs) + draw(sources) + made.frame[12:]
    header = made.header
    match draw(st.integers(0, 9)):
        case 0:
            frame = draw(mutated([frame[: made.head + 20]]))
        case 1:
            header = draw(
                st.builds(
                    VnetHeader,
                    st.integers(0, 2),
                    st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84, 0x85]),
                    st.just(0),
                    st.sampled_from([0, 1, 100, 65535]),
                    st.sampled_from([0, 13, 14, made.l4, made.l4 + 1, 65535]),
                    st.sampled_from([0, 6, 16, 65535]),
                )
            )
        case 2:
            header = VnetHeader(NEEDS_CSUM, 0, 0, 0, made.l4, made.header.csum_offset)
        case 3:
            header = VnetHeader()
    return EnterLarge(draw(numbers), header, frame)


def super_frame(
    protocol: int, size: int, gso_size: int, ecn: int = 0, *, station: bytes, source: bytes
) -> tuple[VnetHeader, bytes]:
    """So many bytes of one flow, as a kernel hands them over at once."""
    upper = tcp_segment(bytes(size), flags=0x18) if protocol == TCP else udp_datagram(bytes(size))
    at = 16 if protocol == TCP else 6
    pseudo = 0xFFFF - naive_checksum(pseudo_header(A, B, protocol, len(upper)))
    upper = upper[:at] + pseudo.to_bytes(2, "big") + upper[at + 2 :]
    flow = ipv4(upper, source=A, destination=B, protocol=protocol, tos=ecn)
    kind = TCPV4 if protocol == TCP else UDP_L4
    header = VnetHeader(NEEDS_CSUM, kind, 0, gso_size, 34, at)
    return header, ethernet(flow, destination=station, source=source)


@dataclass(frozen=True)
class EnterBulk:
    """Up to 64 KB of one flow at once."""

    port: int
    protocol: int
    size: int
    gso_size: int
    station: bytes
    ecn: int

    def run(self, twins: Twins) -> None:
        large = super_frame(
            self.protocol,
            self.size,
            self.gso_size,
            self.ecn,
            station=self.station,
            source=mac(US),
        )
        EnterLarge(self.port, *large).run(twins)


bulks = st.builds(
    EnterBulk,
    numbers,
    st.sampled_from([TCP, UDP]),
    st.sampled_from([1000, 5000, 30000, 65535 - 40]),
    st.sampled_from([536, 1200, 1316, 1400]),
    st.sampled_from([mac(2), mac(9), BROADCAST]),
    st.integers(0, 3),
)

# --- everything else -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """Time passes; the tables are aged, or not."""

    nanoseconds: int
    age: bool

    def run(self, twins: Twins) -> None:
        twins.now += self.nanoseconds
        if self.age:
            twins.both("age", twins.now)


_PASSES = [1, *(seconds * SECOND for seconds in (1, 5, 10, 15, 16, 45, 75, 105))]
_PASSES += [120 * SECOND, 165 * SECOND, 180 * SECOND, 120 * SECOND - 1, 165 * SECOND - 1]
passes = st.builds(Pass, st.sampled_from([*_PASSES, 180 * SECOND - 1, DAY]), st.booleans())


@dataclass(frozen=True)
class AddPeer:
    """A new peer, with a session or without, and the packets that it may be about to send."""

    connected: bool

    def run(self, twins: Twins) -> None:
        if len(twins.peers) < 6:
            twins.add_peer()
            if self.connected:
                twins.connect(max(twins.peers), initiator=self.connected)


@dataclass(frozen=True)
class RemovePeer:
    peer: int

    def run(self, twins: Twins) -> None:
        number = _pick(self.peer, twins.peers)
        if number is not None:
            twins.remove_peer(number)


@dataclass(frozen=True)
class Install:
    """A new session of a peer."""

    peer: int
    initiator: bool

    def run(self, twins: Twins) -> None:
        number = _pick(self.peer, twins.peers)
        if number is not None:
            twins.connect(number, initiator=self.initiator)


@dataclass(frozen=True)
class Exhaust:
    """A peer's counter comes to where no more is accepted."""

    peer: int
    left: int

    def run(self, twins: Twins) -> None:
        number = _pick(self.peer, twins.peers)
        if number is not None and twins.peers[number].sessions:
            session = twins.peers[number].sessions[-1]
            session.send_counter = REJECT_AFTER_MESSAGES - self.left


@dataclass(frozen=True)
class Tell:
    """A call that names a peer and needs no more."""

    name: str
    peer: int
    arguments: tuple[Any, ...] = ()
    timed: bool = False

    def run(self, twins: Twins) -> None:
        number = _pick(self.peer, twins.peers)
        if number is None:
            return
        if self.name == "send_staged":
            twins.both("send_staged", number, twins.now, or_keepalive=self.arguments[0])
        else:
            time = (twins.now,) if self.timed else ()
            twins.both(self.name, number, *self.arguments, *time)


@dataclass(frozen=True)
class Place:
    """A peer's endpoint is set, to somewhere or nowhere; or a handshake is heard from there."""

    name: str
    peer: int
    how: int

    def run(self, twins: Twins) -> None:
        number = _pick(self.peer, twins.peers)
        if number is None:
            return
        endpoint = twins.peers[number].endpoint
        if self.how != 9:
            endpoint = elsewhere(endpoint, self.how)
        if self.name == "received_handshake":
            twins.both(self.name, number, endpoint, 148, twins.now)
        elif self.name == "reply":
            twins.both(self.name, endpoint, bytes(64))
        else:
            twins.both(self.name, number, None if self.how == 0 else endpoint)


@dataclass(frozen=True)
class Say:
    """A call that is the node's."""

    name: str
    arguments: tuple[Any, ...] = ()

    def run(self, twins: Twins) -> None:
        twins.both(self.name, *self.arguments)


@dataclass(frozen=True)
class AddNetwork:
    network: Network
    ports: int

    def run(self, twins: Twins) -> None:
        if self.network.vni not in twins.networks:
            twins.add_network(self.network)
            for _ in range(self.ports):
                AddPort(self.network.vni, None).run(twins)


@dataclass(frozen=True)
class AddPort:
    vni: int
    mac: bytes | None

    def run(self, twins: Twins) -> None:
        if self.vni in twins.networks and len(twins.ports) < 8:
            address = self.mac
            if address is not None:  # Each its own: others, no port has.
                address = address[:4] + bytes([1, len(twins.ports)])
            twins.add_port(self.vni, address)


@dataclass(frozen=True)
class EditFdb:
    """``static`` None: an entry; otherwise a flush."""

    name: str
    vni: int
    arguments: tuple[Any, ...]
    static: bool = False

    def run(self, twins: Twins) -> None:
        if self.vni in twins.networks:
            more = {"static": self.static} if self.name == "fdb_flush" else {}
            twins.both(self.name, self.vni, *self.arguments, **more)


vteps = st.builds(tunnel, st.sampled_from([2, 2, 3, 4, 5, US]), families)
vnis = st.sampled_from([42, 42, 43, 44, 46])
prefixes = st.builds(
    masked,
    st.builds(tunnel, st.integers(0, 6), families),
    st.sampled_from([0, 8, 24, 29, 30, 31, 32]),
) | st.builds(masked, st.builds(tunnel, st.integers(0, 6), st.just(6)), st.integers(96, 128))
disarmed = st.sampled_from([Event.ARM_TX, Event.ARM_RX, Event.ARM_TX | Event.ARM_RX])
networks = st.builds(
    Network,
    st.sampled_from([44, 45]),
    udp_port=st.sampled_from([4789, 4790]),
    learning=st.booleans(),
    ageing=st.sampled_from([0, SECOND, 300 * SECOND]),
    max_entries=st.sampled_from([0, 1, 2, 3]),
    accept=st.none() | st.lists(prefixes, max_size=3).map(tuple),
)
addresses = st.lists(st.builds(tunnel, st.sampled_from([US, US, 2, 77]), families), max_size=4)

peerings: st.SearchStrategy[Step] = st.one_of(
    st.builds(AddPeer, st.booleans()),
    st.builds(RemovePeer, numbers),
    st.builds(Exhaust, numbers, st.integers(0, 2)),
    st.builds(Tell, st.just("add_allowed_ip"), numbers, st.tuples(prefixes)),
    st.builds(Tell, st.just("add_allowed_ip"), numbers, st.tuples(prefixes)),
    st.builds(Tell, st.just("remove_allowed_ip"), numbers, st.tuples(prefixes)),
    st.builds(Tell, st.sampled_from(["clear_allowed_ips", "forget_keys"]), numbers),
    st.builds(Tell, st.just("forget_local_address"), numbers),
    st.builds(Place, st.just("set_endpoint"), numbers, st.sampled_from([0, 1, 2, 3, 4, 9])),
)
handshaking: st.SearchStrategy[Step] = st.one_of(
    st.builds(Install, numbers, st.booleans()),
    st.builds(Install, numbers, st.booleans()),
    st.builds(Tell, st.just("disarm"), numbers, st.tuples(disarmed)),
    st.builds(Tell, st.just("drop_staged"), numbers, st.just((Reason.HANDSHAKE_TIMEOUT,))),
    st.builds(Tell, st.just("send_staged"), numbers, st.tuples(st.booleans())),
    st.builds(Tell, st.just("send_handshake"), numbers, st.just((bytes(148),)), st.just(True)),
    st.builds(Place, st.sampled_from(["received_handshake", "reply"]), numbers, numbers),
    st.builds(Say, st.just("open_handshake"), st.sampled_from(INDICES).map(lambda n: (n,))),
    st.builds(Say, st.just("close_handshake"), st.sampled_from(INDICES).map(lambda n: (n,))),
)
settings: st.SearchStrategy[Step] = st.one_of(
    st.builds(Demand, st.sampled_from([0, 1, 60])),
    st.just(Say("expire_sending_keys")),
    st.builds(Say, st.just("set_forward"), st.tuples(st.booleans())),
    st.builds(Say, st.just("set_addresses"), st.tuples(addresses)),
    st.builds(Say, st.just("set_public_key"), st.sampled_from([(PUBLIC_KEY,), (None,)])),
    st.builds(
        Say,
        st.just("set_mtu"),
        st.sampled_from([1420, 1419, 1280, 1381, 577, 100, 68, 20, 0, 9001, 65535]).map(
            lambda mtu: (mtu,)
        ),
    ),
    st.builds(AddNetwork, networks, st.integers(0, 3)),
    st.builds(AddPort, vnis, st.none() | st.just(mac(0))),
)
edits: st.SearchStrategy[Step] = st.one_of(
    st.builds(EditFdb, st.just("fdb_add"), vnis, st.tuples(macs, vteps)),
    st.builds(EditFdb, st.just("fdb_add"), vnis, st.tuples(macs, vteps)),
    st.builds(EditFdb, st.just("fdb_delete"), vnis, st.tuples(macs, st.none() | vteps)),
    st.builds(EditFdb, st.just("fdb_flush"), vnis, st.tuples(st.none() | vteps), st.booleans()),
)
incoming: st.SearchStrategy[Step] = st.one_of(arrivals(), arrivals(), streams())
outgoing: st.SearchStrategy[Step] = st.one_of(entries, entries, large_entries(), bulks, overflow)


def weighted(*pairs: tuple[int, st.SearchStrategy[Step]]) -> st.SearchStrategy[Step]:
    """one_of() would give each of all their branches the same chance."""
    chosen = [strategy for weight, strategy in pairs for _ in range(weight)]
    return st.sampled_from(range(len(chosen))).flatmap(lambda n: chosen[n])


steps = weighted(
    (5, incoming),
    (4, outgoing),
    (2, handshaking),
    (2, passes),
    (2, peerings),
    (2, edits),
    (1, settings),
    (1, handshakes),
)

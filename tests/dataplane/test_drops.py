"""Every drop reason can be reached, and a packet counts under exactly one, once."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.rig import (
    MTU,
    PORT,
    SECOND,
    US,
    VNI,
    Rig,
    carrying,
    datagram_of,
    frame_to,
    mac,
    packet,
    tunnel,
    vxlan_header,
)
from tests.dataplane.test_quiet_drops import CASES as QUIET_CASES
from tests.vxlan.packets import fragment_header, ipv4, ipv6, naive_checksum, udp
from wgvx.dataplane.interface import Burst, Datagram, DatagramSocket, FramePort, Network
from wgvx.drops import Reason
from wgvx.wireguard.constants import MAX_STAGED_PACKETS, REJECT_AFTER_MESSAGES

FRAME = frame_to(US)
GROUP = bytes.fromhex("0180c2000001")

Case = tuple[str, Reason, Callable[[Rig], object]]


def patched(data: bytes, position: int, value: bytes) -> bytes:
    return data[:position] + value + data[position + len(value) :]


def outer(reason: Reason, name: str, make: Callable[[Rig], bytes]) -> Case:
    return name, reason, lambda rig: rig.hear(make(rig))


def inner(reason: Reason, name: str, plaintext: bytes) -> Case:
    return name, reason, lambda rig: rig.receive(plaintext)


def sealed(rig: Rig) -> bytes:
    return rig.peer.seal(carrying(FRAME)).data


# --- the outer datagram and transport data --------------------------------------------------------

WRONG_LENGTHS = {1: (4, 147, 149), 2: (4, 91, 93), 3: (4, 63, 65), 4: (4, 31)}


def constant(kind: int, length: int) -> Callable[[Rig], bytes]:
    return lambda _: struct.pack("<I", kind) + bytes(length - 4)


def with_byte_set(position: int) -> Callable[[Rig], bytes]:
    return lambda rig: patched(sealed(rig), position, b"\1")


OUTER = [
    outer(Reason.MALFORMED, "empty", lambda _: b""),
    outer(Reason.MALFORMED, "three bytes", lambda _: b"\4\0\0"),
    outer(Reason.MALFORMED, "type 0", lambda _: bytes(148)),
    outer(Reason.MALFORMED, "type 5", lambda _: b"\5" + bytes(147)),
    outer(Reason.MALFORMED, "largest datagram", lambda _: bytes(65535)),
    *(
        outer(Reason.MALFORMED, f"type {kind} of {length} bytes", constant(kind, length))
        for kind, wrong in WRONG_LENGTHS.items()
        for length in wrong
    ),
    *(outer(Reason.MALFORMED, f"reserved byte {i} set", with_byte_set(i)) for i in (1, 2, 3)),
    outer(Reason.BAD_MAC1, "initiation", lambda _: b"\1" + bytes(147)),
    outer(Reason.BAD_MAC1, "response", lambda _: b"\2" + bytes(91)),
    outer(Reason.UNKNOWN_INDEX, "no session", lambda _: b"\4" + bytes(31)),
    outer(
        Reason.AUTH_FAILED,
        "flipped bit",
        lambda rig: patched(sealed(rig), 40, bytes([sealed(rig)[40] ^ 0x55])),
    ),
    outer(Reason.AUTH_FAILED, "cut short", lambda rig: sealed(rig)[:-1]),
    outer(Reason.AUTH_FAILED, "another counter", lambda rig: patched(sealed(rig), 8, b"\x63")),
]


def replay(rig: Rig) -> None:
    datagram = rig.peer.seal(b"")
    rig.dataplane.receive([datagram, datagram], rig.now)


def behind_the_window(rig: Rig) -> None:
    old, edge = rig.peer.seal(b""), rig.peer.seal(b"")
    rig.peer.sessions[0].send_counter = 1 + 8128
    rig.dataplane.receive([rig.peer.seal(b""), edge, old], rig.now)


def too_old(rig: Rig) -> None:
    datagram = rig.peer.seal(carrying(FRAME))
    rig.now += 180 * SECOND
    rig.dataplane.receive([datagram], rig.now)


def too_many(rig: Rig) -> None:
    rig.peer.sessions[0].send_counter = REJECT_AFTER_MESSAGES
    rig.receive(carrying(FRAME))


TRANSPORT: list[Case] = [
    ("twice", Reason.REPLAYED, replay),
    ("behind the window", Reason.REPLAYED, behind_the_window),
    ("after 180 s", Reason.KEY_EXPIRED, too_old),
    ("after 2^64 - 2^13 - 1 messages", Reason.KEY_EXPIRED, too_many),
]

# --- the inner packet -----------------------------------------------------------------------------


def bad_ipv4_checksum(plaintext: bytes) -> bytes:
    return patched(plaintext, 10, bytes([plaintext[10] ^ 1]))


def with_extension(*headers: bytes, first: int) -> bytes:
    """An IPv6 packet with extension headers (each naming the next) before its UDP."""
    segment = datagram_of(FRAME, family=6)
    return packet(b"".join(headers) + segment, first, family=6)


GOOD4, GOOD6 = carrying(FRAME), carrying(FRAME, family=6)
SEGMENT4, SEGMENT6 = datagram_of(FRAME), datagram_of(FRAME, family=6)

INNER = [
    inner(Reason.INNER_MALFORMED, "version 0", bytes(60)),
    inner(Reason.INNER_MALFORMED, "version 5", patched(GOOD4, 0, b"\x55")),
    inner(Reason.INNER_MALFORMED, "one byte", b"\x45"),
    inner(Reason.INNER_MALFORMED, "IPv4 of 19 bytes", GOOD4[:19]),
    inner(Reason.INNER_MALFORMED, "IPv6 of 39 bytes", GOOD6[:39]),
    inner(Reason.INNER_MALFORMED, "IPv4 length too long", GOOD4[:-1]),
    inner(Reason.INNER_MALFORMED, "IPv6 length too long", GOOD6[:-1]),
    inner(Reason.INNER_MALFORMED, "IPv4 length 19", packet(SEGMENT4, total_length=19)),
    inner(Reason.INNER_MALFORMED, "IHL 4", patched(GOOD4, 0, b"\x44")),
    inner(Reason.INNER_MALFORMED, "IHL past the packet", patched(packet(b"ab"), 0, b"\x46")),
    inner(Reason.INNER_MALFORMED, "UDP header cut", packet(SEGMENT4[:7])),
    inner(Reason.INNER_MALFORMED, "UDP length 7", packet(patched(SEGMENT4, 4, b"\0\7"))),
    inner(Reason.INNER_MALFORMED, "UDP length too long", packet(patched(SEGMENT4, 4, b"\4\0"))),
    inner(Reason.INNER_MALFORMED, "short ICMP", packet(b"\x08\0\xf7\xff", 1)),
    inner(Reason.INNER_MALFORMED, "extension header cut", packet(b"\x11\0\0\0", 60, family=6)),
    inner(
        Reason.INNER_MALFORMED,
        "extension header past the end",
        with_extension(b"\x11\xff" + bytes(6), first=60),
    ),
    inner(
        Reason.INNER_MALFORMED,
        "hop-by-hop options in second place",
        with_extension(b"\0\0\1\4" + bytes(4), b"\x11\0\1\4" + bytes(4), first=60),
    ),
    inner(
        Reason.INNER_MALFORMED,
        "option that must be understood",
        with_extension(b"\x11\0\xc2\4" + bytes(4), first=60),
    ),
    inner(
        Reason.INNER_MALFORMED,
        "routing header with a segment left",
        with_extension(b"\x11\0\0\1" + bytes(4), first=43),
    ),
    inner(Reason.SOURCE_NOT_ALLOWED, "nobody's source", carrying(FRAME, source=99)),
    inner(Reason.SOURCE_NOT_ALLOWED, "our own source", carrying(FRAME, source=US)),
    inner(Reason.SOURCE_NOT_ALLOWED, "nobody's IPv6", carrying(FRAME, source=99, family=6)),
    inner(Reason.NO_ROUTE, "not for us", carrying(FRAME, destination=99)),
    inner(Reason.NO_ROUTE, "IPv6 not for us", carrying(FRAME, destination=99, family=6)),
    inner(Reason.BAD_CHECKSUM, "IPv4 header", bad_ipv4_checksum(GOOD4)),
    inner(Reason.BAD_CHECKSUM, "UDP", packet(patched(SEGMENT4, 30, b"\xff"))),
    inner(Reason.BAD_CHECKSUM, "UDP over IPv6", packet(patched(SEGMENT6, 30, b"\xff"), family=6)),
    inner(Reason.BAD_CHECKSUM, "none over IPv6", packet(patched(SEGMENT6, 6, b"\0\0"), family=6)),
    inner(Reason.BAD_CHECKSUM, "ICMP", packet(b"\x08\0\1\1" + bytes(8), 1)),
    inner(
        Reason.FRAGMENT,
        "middle fragment no multiple of 8",
        packet(SEGMENT4[:13], flags=0x2000),
    ),
    inner(
        Reason.FRAGMENT,
        "fragment past 65535",
        packet(bytes(16), flags=0x1FFF),
    ),
    inner(Reason.NOT_VXLAN, "another UDP port", carrying(FRAME, port=4790)),
    inner(Reason.NOT_VXLAN, "TCP", packet(bytes(20), 6)),
    inner(Reason.NOT_VXLAN, "echo reply", packet(b"\0\0\xff\xff" + bytes(4), 1)),
    inner(Reason.NOT_VXLAN, "ICMPv6 over IPv4", packet(bytes(8), 58)),
    inner(Reason.NOT_VXLAN, "VXLAN header cut", carrying(b"", header=vxlan_header()[:7])),
    inner(Reason.NOT_VXLAN, "I flag clear", carrying(FRAME, header=vxlan_header(flags=0))),
    inner(Reason.RESERVED_BITS, "flag", carrying(FRAME, header=vxlan_header(flags=0x88))),
    inner(Reason.RESERVED_BITS, "last byte", carrying(FRAME, header=vxlan_header(reserved=1))),
    inner(Reason.UNKNOWN_VNI, "another VNI", carrying(FRAME, vni=VNI + 1)),
    inner(Reason.SHORT_FRAME, "no frame", carrying(b"")),
    inner(Reason.SHORT_FRAME, "13 bytes", carrying(FRAME[:13])),
    inner(Reason.OWN_MAC, "our own MAC as source", carrying(frame_to(5, US))),
    inner(Reason.BAD_SOURCE_MAC, "group", carrying(frame_to(US, b"\3\0\0\0\0\1"))),
    inner(Reason.BAD_SOURCE_MAC, "broadcast", carrying(frame_to(US, b"\xff" * 6))),
    inner(Reason.BAD_SOURCE_MAC, "zero", carrying(frame_to(US, bytes(6)))),
    inner(Reason.RESERVED_GROUP, "01:80:c2:00:00:01", carrying(frame_to(GROUP))),
    inner(Reason.RESERVED_GROUP, "0f", carrying(frame_to(GROUP[:5] + b"\x0f"))),
    inner(
        Reason.ECN_CE,
        "tunnel packet marked, frame not ECN-capable",
        carrying(frame_to(US, payload=ipv4(bytes(8)), ethertype=0x0800), tos=3),
    ),
    inner(
        Reason.ECN_CE,
        "over IPv6, frame is IPv6",
        carrying(frame_to(US, payload=ipv6(b""), ethertype=0x86DD), family=6, traffic_class=3),
    ),
]


def not_accepted(rig: Rig) -> None:
    rig.dataplane.add_network(Network(7, accept=((tunnel(3), 32),)))
    rig.dataplane.add_port(7, 7, None)
    rig.receive(carrying(FRAME, vni=7))


def static_elsewhere(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(9), tunnel(3))
    rig.receive(carrying(frame_to(US, 9)))


def lost_fragment(rig: Rig) -> None:
    rig.receive(packet(SEGMENT4[:16], flags=0x2000))
    assert rig.drops() == {}
    rig.now += 20 * SECOND
    rig.dataplane.age(rig.now)


def repeated_fragment(rig: Rig) -> None:
    rig.receive(*[packet(SEGMENT4[:16], flags=0x2000)] * 2)


def too_many_pings(rig: Rig) -> None:
    request = b"\x08\0\0\0\0\1\0\1"
    request = patched(request, 2, naive_checksum(request).to_bytes(2, "big"))
    for _ in range(1001):
        rig.receive(packet(request, 1))


def expired_hop(rig: Rig, **ttl: Any) -> None:
    rig.dataplane.set_forward(True)
    family = 6 if "hop_limit" in ttl else 4
    rig.receive(carrying(FRAME, destination=99, family=family, **ttl))


WITH_STATE: list[Case] = [
    ("VTEP outside accept", Reason.VTEP_NOT_ACCEPTED, not_accepted),
    ("static entry elsewhere", Reason.STATIC_MOVED, static_elsewhere),
    ("its rest never came", Reason.FRAGMENT, lost_fragment),
    ("fragment twice", Reason.FRAGMENT, repeated_fragment),
    ("more than 1,000 pings", Reason.SLOW_PATH, too_many_pings),
    ("TTL 1", Reason.TTL, lambda rig: expired_hop(rig, ttl=1)),
    ("TTL 0", Reason.TTL, lambda rig: expired_hop(rig, ttl=0)),
    ("hop limit 1", Reason.TTL, lambda rig: expired_hop(rig, hop_limit=1)),
]

# --- frames on their way out ----------------------------------------------------------------------


def sends(frame: bytes, remote: int = 2) -> Callable[[Rig], object]:
    def act(rig: Rig) -> None:
        rig.dataplane.fdb_add(VNI, bytes(6), tunnel(remote))
        rig.transmit(frame)

    return act


def without_endpoint(rig: Rig) -> None:
    rig.dataplane.set_endpoint(2, None)
    sends(frame_to(2, US))(rig)


def staged_too_many(rig: Rig) -> None:
    rig.dataplane.forget_keys(2)
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    rig.transmit(*[frame_to(2, US)] * (MAX_STAGED_PACKETS + 1))


def staged_in_vain(rig: Rig) -> None:
    rig.dataplane.forget_keys(2)
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    rig.transmit(frame_to(2, US))
    rig.dataplane.drop_staged(2, Reason.HANDSHAKE_TIMEOUT)


def to_a_neighbour_on_the_port(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    rig.transmit(frame_to(2, 7))
    rig.transmit(frame_to(7, 8))


def static_on_the_port(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(9), tunnel(2))
    rig.transmit(frame_to(2, 9))


def ipv4_frame(length: int) -> bytes:
    return frame_to(2, US, payload=bytes(length - 14))


OUTBOUND: list[Case] = [
    ("13 bytes", Reason.SHORT_FRAME, sends(bytes(13))),
    ("empty", Reason.SHORT_FRAME, sends(b"")),
    ("group source", Reason.BAD_SOURCE_MAC, sends(frame_to(2, b"\3\0\0\0\0\1"))),
    ("zero source", Reason.BAD_SOURCE_MAC, sends(frame_to(2, bytes(6)))),
    ("reserved group", Reason.RESERVED_GROUP, sends(frame_to(GROUP, US))),
    ("static entry elsewhere, outbound", Reason.STATIC_MOVED, static_on_the_port),
    ("where it came from", Reason.SAME_PORT, to_a_neighbour_on_the_port),
    ("unknown, and no flood list", Reason.NO_REMOTE, lambda rig: rig.transmit(frame_to(2, US))),
    ("nobody's VTEP", Reason.NO_ROUTE, sends(frame_to(2, US), 99)),
    ("one byte past the MTU", Reason.TOO_BIG, sends(ipv4_frame(MTU - 36 + 1))),
    ("65535 bytes", Reason.TOO_BIG, sends(ipv4_frame(65535))),
    ("peer never heard", Reason.NO_ENDPOINT, without_endpoint),
    ("129 staged", Reason.STAGED_OVERFLOW, staged_too_many),
    ("handshake given up", Reason.HANDSHAKE_TIMEOUT, staged_in_vain),
]

# --- the edges of the process ---------------------------------------------------------------------


class FullPort(FramePort):
    """Has one frame to read and takes none."""

    def __init__(self, *frames: bytes) -> None:
        self._frames = list(frames)

    def read(self) -> bytes | None:
        return self._frames.pop() if self._frames else None

    def write(self, frame: bytes) -> bool:
        del frame
        return False


class FullSocket(DatagramSocket):
    """The same for datagrams."""

    def __init__(self, *datagrams: Datagram) -> None:
        self._datagrams = list(datagrams)

    def receive(self, budget: int) -> list[Datagram]:
        taken, self._datagrams = self._datagrams[:budget], self._datagrams[budget:]
        return taken

    def send(self, datagram: Datagram) -> Reason | None:
        del datagram
        return Reason.SOCKET_FULL

    def send_whole(self, datagram: Datagram) -> Reason | None:
        return self.send(datagram)


def into_full_port(rig: Rig) -> None:
    rig.dataplane.connect_port(PORT, FullPort())
    rig.dataplane.pump_socket(FullSocket(rig.peer.seal(GOOD4)), rig.now, 8)


def into_full_socket(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    rig.dataplane.connect_socket(4, FullSocket())
    rig.dataplane.connect_port(PORT, FullPort(frame_to(2, US)))
    rig.dataplane.pump_port(PORT, rig.now, 8)


def into_no_port(rig: Rig) -> None:
    for device in (FullPort(), None):
        rig.dataplane.connect_port(PORT, device)
    rig.dataplane.emit(Burst(frames=[(PORT, frame_to(US))]))


def without_socket(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    rig.dataplane.connect_port(PORT, FullPort(frame_to(2, US)))
    rig.dataplane.pump_port(PORT, rig.now, 8)


EDGES: list[Case] = [
    ("port takes nothing", Reason.PORT_FULL, into_full_port),
    ("nobody at the port", Reason.PORT_DOWN, into_no_port),
    ("socket takes nothing", Reason.SOCKET_FULL, into_full_socket),
    ("no socket of that family", Reason.UNREACHABLE, without_socket),
]

CASES = [*OUTER, *TRANSPORT, *INNER, *WITH_STATE, *OUTBOUND, *EDGES]


def _ids(cases: Iterable[Case]) -> list[str]:
    return [f"{reason}: {name}" for name, reason, _ in cases]


@pytest.mark.parametrize(("name", "reason", "act"), CASES, ids=_ids(CASES))
def test_one_packet_counts_once(
    rig: Rig, name: str, reason: Reason, act: Callable[[Rig], Any]
) -> None:
    burst = act(rig)
    assert rig.drops() == {reason: 1}, name
    if isinstance(burst, Burst):
        assert not any((burst.frames, burst.datagrams, burst.handshakes))


# --- all of them ----------------------------------------------------------------------------------


def test_no_reason_is_without_a_test() -> None:
    handshakes = {  # see test_handshake_drops.py
        Reason.BAD_MAC2,
        Reason.HANDSHAKE_RATE,
        Reason.HANDSHAKE_REPLAY,
        Reason.HANDSHAKE_FAILED,
    }
    queues = {Reason.CONGESTED}  # see tests/native/test_codel.py
    quiet = {reason for reason, _ in QUIET_CASES}
    assert handshakes | queues | quiet | {reason for _, reason, _ in CASES} == set(Reason)


def test_all_counters_are_there_from_the_start_and_0(dataplane_class: DataPlaneClass) -> None:
    assert dataplane_class().drops() == dict.fromkeys(Reason, 0)


def test_a_frame_to_several_remotes_counts_what_became_of_each_copy(rig: Rig) -> None:
    for remote in (2, 98, 99):
        rig.dataplane.fdb_add(VNI, bytes(6), tunnel(remote))
    burst = rig.transmit(frame_to(b"\xff" * 6, US))
    assert len(burst.datagrams) == 1
    assert rig.drops() == {Reason.NO_ROUTE: 2}


def test_fragments_count_each(rig: Rig) -> None:
    segment = datagram_of(FRAME, family=6)
    for offset in (0, 8, 16):
        part = fragment_header(17, offset, True, 1) + segment[offset : offset + 8]
        rig.receive(packet(part, 44, family=6))
    rig.dataplane.age(rig.now + 20 * SECOND)
    assert rig.drops() == {Reason.FRAGMENT: 3}


def test_what_is_refused_moves_no_peer(rig: Rig) -> None:
    """Only what authenticates and is no replay tells where a peer is."""
    elsewhere = rig.peer.endpoint._replace(ip=b"\xcb\0\x71\7")
    good = rig.peer.seal(b"").data
    rig.dataplane.receive([Datagram(good, rig.peer.endpoint)], rig.now)
    before = rig.dataplane.stamps(2), rig.dataplane.peer_counters(2)
    rig.now += SECOND
    forged = patched(rig.peer.seal(b"").data, 20, b"\0")
    for data in (good, forged, b"\4" + bytes(31), b"", udp(b"")):
        burst = rig.dataplane.receive([Datagram(data, elsewhere)], rig.now)
        assert burst == Burst()
    assert rig.dataplane.endpoint(2) == rig.peer.endpoint
    assert (rig.dataplane.stamps(2), rig.dataplane.peer_counters(2)) == before

"""Rubbish at every layer, inside a valid session too: one outcome each, and never an exception.

An outcome is one drop counted, or a delivery: frames out, an answer, a relayed packet; or a
fragment held, which counts as a drop once its time is over.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.mixture import FRAMES, PING, PLAINTEXTS, prepare
from tests.dataplane.rig import (
    SECOND,
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
from tests.vxlan.packets import BROADCAST, fragment_header, ipv4, ipv6, mutated
from wgvx.dataplane.interface import Burst, Datagram

FRAME = frame_to(US)
IP_FRAME = frame_to(US, payload=ipv4(bytes(40), tos=2), ethertype=0x0800)
IP6_FRAME = frame_to(US, payload=ipv6(bytes(40)), ethertype=0x86DD, tags=((0x8100, 9),))


def total(rig: Rig) -> int:
    return sum(rig.dataplane.drops().values())


def assert_one_outcome(rig: Rig, burst: Burst, before: int) -> None:
    """One drop, or one delivery, or one fragment that waits."""
    counted = total(rig) - before
    delivered = bool(burst.frames or burst.datagrams)
    if not counted and not delivered:
        rig.now += 20 * SECOND
        rig.dataplane.age(rig.now)
        counted = total(rig) - before
    assert counted + delivered == 1, (burst, rig.drops())


def still_works(rig: Rig) -> None:
    """What was thrown at it left the data plane as good as before."""
    frame = frame_to(US, 8)
    assert rig.receive(carrying(frame)).frames != []


def hit(dataplane_class: DataPlaneClass, plaintext: bytes, tos: int = 0) -> None:
    rig = Rig(dataplane_class, peers=3, forward=True)
    before = total(rig)
    if plaintext:
        assert_one_outcome(rig, rig.receive(plaintext, tos=tos), before)
    still_works(rig)


INNER = [
    carrying(FRAME),
    carrying(IP6_FRAME, tos=1),
    carrying(FRAME, options=b"\x94\4\0\0"),
    carrying(FRAME, family=6),
    carrying(FRAME, destination=3),
    carrying(FRAME, destination=3, family=6),
    packet(PING, 1),
    packet(b"\x11\0\1\4" + bytes(4) + datagram_of(FRAME, family=6), 60, family=6),
    packet(fragment_header(17, 0, True, 1) + bytes(64), 44, family=6),
    packet(bytes(64), flags=0x2000),
]


@given(plaintext=mutated(INNER), tos=st.integers(0, 255))
@settings(max_examples=400)
def test_inner_packets(dataplane_class: DataPlaneClass, plaintext: bytes, tos: int) -> None:
    hit(dataplane_class, plaintext, tos)


@given(plaintext=st.binary(max_size=200))
def test_inner_packets_of_nothing_but_noise(
    dataplane_class: DataPlaneClass, plaintext: bytes
) -> None:
    hit(dataplane_class, plaintext)


# Below, everything around the mutated layer is right, so that the noise reaches it.


@given(segment=mutated([datagram_of(FRAME), datagram_of(IP_FRAME)]), family=st.sampled_from([4, 6]))
def test_udp(dataplane_class: DataPlaneClass, segment: bytes, family: int) -> None:
    hit(dataplane_class, packet(segment, family=family))


@given(
    headers=mutated(
        [
            b"\x11\0\1\4" + bytes(4),
            b"\x3c\0\1\4" + bytes(4) + b"\x11\1\1\x0c" + bytes(12),
            b"\x2c\0\0\0" + bytes(4) + fragment_header(17, 0, False, 7),
        ]
    ),
    first=st.sampled_from([0, 43, 44, 60, 17, 58, 59]),
)
def test_extension_headers(dataplane_class: DataPlaneClass, headers: bytes, first: int) -> None:
    hit(dataplane_class, packet(headers + datagram_of(FRAME, family=6), first, family=6))


@given(message=mutated([PING, PING + bytes(56)]), family=st.sampled_from([4, 6]))
def test_icmp(dataplane_class: DataPlaneClass, message: bytes, family: int) -> None:
    hit(dataplane_class, packet(message, 1 if family == 4 else 58, family=family))


@given(payload=mutated([vxlan_header() + FRAME]), family=st.sampled_from([4, 6]))
def test_vxlan(dataplane_class: DataPlaneClass, payload: bytes, family: int) -> None:
    hit(dataplane_class, carrying(payload[8:], header=payload[:8], family=family))


@given(
    frame=mutated([FRAME, IP_FRAME, IP6_FRAME]),
    tos=st.integers(0, 3),
    outer=st.integers(0, 3),
)
@settings(max_examples=300)
def test_ethernet(dataplane_class: DataPlaneClass, frame: bytes, tos: int, outer: int) -> None:
    hit(dataplane_class, carrying(frame, tos=tos), outer)


@given(
    parts=st.lists(
        st.tuples(
            st.integers(0, 0x1FFF) | st.integers(0, 8),
            st.booleans(),
            st.integers(0, 40) | st.sampled_from([8, 16, 24]),
            st.integers(0, 1),
        ),
        max_size=12,
    ),
    family=st.sampled_from([4, 6]),
)
@settings(max_examples=200)
def test_fragments(
    dataplane_class: DataPlaneClass, parts: list[tuple[int, bool, int, int]], family: int
) -> None:
    """However they lie to each other: each counts once at most, and none is left over."""
    rig = Rig(dataplane_class)
    segment = datagram_of(frame_to(US, payload=bytes(range(200))), family=family)
    delivered = 0
    for offset, more, length, name in parts:
        data = segment[offset * 8 : offset * 8 + length].ljust(length, b"\xee")
        if family == 4:
            plaintext = packet(data, flags=offset | more << 13, identification=name)
        else:
            plaintext = packet(fragment_header(17, offset * 8, more, name) + data, 44, family=6)
        before = total(rig)
        delivered += len(rig.receive(plaintext).frames)
        assert total(rig) - before <= 1
    rig.now += 20 * SECOND
    rig.dataplane.age(rig.now)
    # Fragments that made a whole one, right or wrong, are one packet.
    assert total(rig) + delivered <= len(parts)
    assert (total(rig) + delivered > 0) == bool(parts)
    settled = total(rig)
    rig.now += 20 * SECOND
    rig.dataplane.age(rig.now)
    assert total(rig) == settled


@given(
    datagrams=st.lists(
        st.binary(max_size=200)
        | mutated(
            [
                b"\1\0\0\0" + bytes(144),
                b"\2\0\0\0" + bytes(88),
                b"\3\0\0\0" + bytes(60),
                b"\4\0\0\0\0\x80\2\0" + bytes(40),
            ]
        ),
        max_size=8,
    )
)
@settings(max_examples=200)
def test_outer_datagrams(dataplane_class: DataPlaneClass, datagrams: list[bytes]) -> None:
    rig = Rig(dataplane_class)
    rig.dataplane.set_public_key(bytes(32))
    burst = rig.hear(*datagrams)
    assert burst.frames == []
    assert burst.datagrams == []
    # A cookie reply has no mac1: it alone is handed up unverified.
    assert all(message.data[0] == 3 for message in burst.handshakes)
    assert total(rig) + len(burst.handshakes) == len(datagrams)
    still_works(rig)


@given(data=st.data())
@settings(max_examples=100)
def test_transport_messages(dataplane_class: DataPlaneClass, data: st.DataObject) -> None:
    """Whatever is changed of a sealed packet, it opens no more."""
    rig = Rig(dataplane_class)
    sealed = rig.peer.seal(carrying(FRAME))
    altered = data.draw(mutated([sealed.data]))
    burst = rig.dataplane.receive([Datagram(altered, rig.peer.endpoint)], rig.now)
    if altered == sealed.data:
        assert len(burst.frames) == 1
    else:
        assert total(rig) + len(burst.handshakes) == 1
        assert burst.frames == []
    still_works(rig)


# --- the way out ----------------------------------------------------------------------------------


def enter(dataplane_class: DataPlaneClass, frame: bytes) -> None:
    rig = Rig(dataplane_class)
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    before = total(rig)
    assert_one_outcome(rig, rig.transmit(frame), before)
    assert len(rig.transmit(frame_to(BROADCAST, US)).datagrams) == 1


@given(frame=mutated(FRAMES[:30]) | st.binary(max_size=100))
@settings(max_examples=300)
def test_frames(dataplane_class: DataPlaneClass, frame: bytes) -> None:
    enter(dataplane_class, frame)


@given(
    start=mutated(FRAMES[:30]) | st.binary(min_size=12, max_size=60),
    length=st.integers(0, 65535) | st.sampled_from([1383, 1384, 1385, 1420, 1421, 65499, 65535]),
)
@settings(max_examples=200)
def test_frames_of_any_length(dataplane_class: DataPlaneClass, start: bytes, length: int) -> None:
    enter(dataplane_class, start[:length].ljust(length, b"\x5a"))


@given(
    packets=st.lists(
        st.sampled_from([2, 3, 4]).flatmap(
            lambda n: st.tuples(st.just(n), mutated([p for p in PLAINTEXTS[n] if p]))
        ),
        max_size=30,
    )
)
def test_many_at_once_from_many_peers(
    dataplane_class: DataPlaneClass, packets: list[tuple[int, bytes]]
) -> None:
    rig = Rig(dataplane_class, peers=3, forward=True)
    prepare(rig)
    rig.dataplane.receive([rig.peers[n].seal(plaintext) for n, plaintext in packets], rig.now)
    assert total(rig) <= len(packets)
    still_works(rig)

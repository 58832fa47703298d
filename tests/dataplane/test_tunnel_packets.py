"""Tunnel packets for us: padding, options, fragments, pings of the tunnel address."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.rig import (
    MTU,
    PORT,
    SECOND,
    UDP_PORT,
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
from tests.vxlan.packets import (
    address,
    fragment_header,
    ipv4,
    ipv6,
    naive_checksum,
    pseudo_header,
    udp,
)
from wgvx.drops import Reason

FRAME = frame_to(US, payload=random.Random(1).randbytes(1000))


# --- padding and what may stand between IP and UDP ------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("padding", [b"", bytes(1), bytes(15), bytes(16), b"\xaa" * 700])
def test_any_padding_is_accepted_and_cut_off(rig: Rig, family: int, padding: bytes) -> None:
    assert rig.receive(carrying(FRAME, family=family) + padding).frames == [(PORT, FRAME)]


def test_bytes_behind_the_udp_length_are_cut_off(rig: Rig) -> None:
    burst = rig.receive(packet(datagram_of(FRAME) + b"behind"))
    assert burst.frames == [(PORT, FRAME)]


def test_no_udp_checksum_over_ipv4_is_accepted(rig: Rig) -> None:
    segment = datagram_of(FRAME)
    assert rig.receive(packet(segment[:6] + b"\0\0" + segment[8:])).frames == [(PORT, FRAME)]


@pytest.mark.parametrize(
    "options", [b"\1\1\1\0", b"\x94\4\0\0", b"\7\x27\4" + bytes(37), b"\xff" * 40]
)
def test_ip_options_are_passed_over(rig: Rig, options: bytes) -> None:
    assert rig.receive(carrying(FRAME, options=options)).frames == [(PORT, FRAME)]


EXTENSIONS = {
    "hop-by-hop options": (0, [b"\x11\0\1\4" + bytes(4)]),
    "destination options with Pad1 and an unknown one to skip": (60, [b"\x11\0\0\x1e\2ab\0"]),
    "routing header with nothing left": (43, [b"\x11\0\0\0" + bytes(4)]),
    "atomic fragment": (44, [fragment_header(17, 0, False, 7)]),
    "all of them": (
        0,
        [
            b"\x3c\0\1\4" + bytes(4),
            b"\x2b\0\1\4" + bytes(4),
            b"\x2c\0\0\0" + bytes(4),
            fragment_header(17, 0, False, 7),
        ],
    ),
    "one of 2048 bytes": (60, [b"\x11\xff" + b"\1\xff" + bytes(255) + bytes(2048 - 259)]),
}


@pytest.mark.parametrize(("first", "headers"), EXTENSIONS.values(), ids=EXTENSIONS.keys())
def test_extension_headers_are_passed_over(rig: Rig, first: int, headers: list[bytes]) -> None:
    segment = datagram_of(FRAME, family=6)
    burst = rig.receive(packet(b"".join(headers) + segment, first, family=6))
    assert burst.frames == [(PORT, FRAME)]


# --- fragments ------------------------------------------------------------------------------------


def fragments(segment: bytes, size: int, family: int, *, name: int = 7) -> list[bytes]:
    """The tunnel packets that carry ``segment`` in parts of ``size`` bytes, a multiple of 8."""
    parts = []
    for offset in range(0, len(segment), size):
        part, more = segment[offset : offset + size], offset + size < len(segment)
        if family == 4:
            flags = offset // 8 | (0x2000 if more else 0)
            parts.append(packet(part, flags=flags, identification=name))
        else:
            header = fragment_header(17, offset, more, name)
            parts.append(packet(header + part, 44, family=6))
    return parts


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", [1000, 1371, 5000, 60000])
@pytest.mark.parametrize("order", ["in order", "backwards", "shuffled"])
def test_a_tunnel_packet_in_fragments_is_put_together(
    rig: Rig, family: int, length: int, order: str
) -> None:
    frame = frame_to(US, payload=random.Random(length).randbytes(length))
    parts = fragments(datagram_of(frame, family=family), 1368, family)
    if order == "backwards":
        parts.reverse()
    elif order == "shuffled":
        random.Random(length).shuffle(parts)
    for part in parts[:-1]:
        assert rig.receive(part).frames == []
    assert rig.receive(parts[-1]).frames == [(PORT, frame)]
    assert rig.drops() == {}


def test_fragments_of_two_peers_do_not_mix(rig3: Rig) -> None:
    frames = {n: frame_to(US, n, bytes([n]) * 2000) for n in (2, 3)}
    parts = {}
    for number, frame in frames.items():
        segment = datagram_of(frame, source=number)
        parts[number] = [
            packet(segment[:1000], source=number, flags=0x2000),
            packet(segment[1000:], source=number, flags=125),
        ]
    for i in range(2):
        for number in frames:
            burst = rig3.receive(parts[number][i], peer=number)
            assert burst.frames == ([] if i == 0 else [(PORT, frames[number])])


def test_a_fragment_of_another_peers_datagram_is_refused_by_its_source(rig3: Rig) -> None:
    first, second = fragments(datagram_of(FRAME), 800, 4)
    rig3.receive(first)
    rig3.receive(second, peer=3)
    assert rig3.drops() == {Reason.SOURCE_NOT_ALLOWED: 1}
    assert rig3.receive(second).frames == [(PORT, FRAME)]


def test_overlapping_fragments_give_nothing(rig: Rig) -> None:
    first, second = fragments(datagram_of(FRAME), 800, 4)
    forged = packet(bytes(16), flags=0x2000 | 99, identification=7)
    assert rig.receive(first, forged, second).frames == []
    rig.dataplane.age(rig.now + 20 * SECOND)
    # All three: the one that overlapped, the one held before, and the one that came too late.
    assert rig.drops() == {Reason.FRAGMENT: 3}


@pytest.mark.parametrize(
    "greedy",
    [[(2, 2)], [(2, 2), (2, 8), (2, 9), (2, 10)], [(2, 2), (3, 3), (4, 4)]],
    ids=["one peer", "one peer, four addresses", "three peers"],
)
def test_a_flood_of_fragments_spares_other_peers(
    dataplane_class: DataPlaneClass, greedy: list[tuple[int, int]]
) -> None:
    rig = Rig(dataplane_class, peers=5)
    rig.dataplane.add_allowed_ip(2, (tunnel(0), 24))

    def flood() -> None:
        for name in range(2520):
            peer, source = greedy[name % len(greedy)]
            begin = packet(bytes(1000), source=source, flags=0x2000, identification=name)
            rig.receive(begin, peer=peer)

    parts = {}
    for number in (5, 6):
        segment = datagram_of(FRAME, source=number)
        cut = ((segment[:800], 0x2000), (segment[800:], 100))
        parts[number] = [packet(part, source=number, flags=flags) for part, flags in cut]
    rig.receive(parts[5][0], peer=5)  # what waits already, and what comes later
    flood()
    rig.receive(parts[6][0], peer=6)
    flood()
    for number in (5, 6):
        assert rig.receive(parts[number][1], peer=number).frames == [(PORT, FRAME)]
    rig.dataplane.age(rig.now + 20 * SECOND)
    assert rig.drops() == {Reason.FRAGMENT: 2 * 2520}


def test_a_ping_in_fragments_is_answered_whole_where_it_fits(rig: Rig) -> None:
    request = echo(8, bytes(1000))
    for part in (packet(request[:504], 1, flags=0x2000), packet(request[504:], 1, flags=63)):
        burst = rig.receive(part)
    ((_, reply),) = rig.opened(burst)
    assert reply[20 : 20 + len(request)] == echo(0, bytes(1000))


# --- pings of the tunnel address ------------------------------------------------------------------


def echo(kind: int, data: bytes, family: int = 4, source: int = 2, destination: int = US) -> bytes:
    """An echo message with identifier 0x1234 and sequence number 7."""
    body = b"\x12\x34\0\7" + data
    head = bytes([kind, 0])
    pseudo = b""
    if family == 6:
        ends = tunnel(source, 6), tunnel(destination, 6)
        pseudo = pseudo_header(*ends, 58, 4 + len(body))
    check = naive_checksum(pseudo + head + b"\0\0" + body)
    return head + check.to_bytes(2, "big") + body


KINDS: dict[int, tuple[int, int, int]] = {4: (1, 8, 0), 6: (58, 128, 129)}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", [0, 1, 56, 1000])
def test_a_ping_is_answered(rig: Rig, family: int, length: int) -> None:
    protocol, request, reply = KINDS[family]
    data = random.Random(length).randbytes(length)
    burst = rig.receive(packet(echo(request, data, family), protocol, family=family))
    ((peer, plaintext),) = rig.opened(burst)
    assert peer == 2
    assert burst.frames == []
    answer = echo(reply, data, family, source=US, destination=2)
    expected = packet(answer, protocol, source=US, destination=2, family=family)
    if family == 4:
        assert naive_checksum(plaintext[:20]) == 0
        assert plaintext[8] == 64
        plaintext = plaintext[:4] + b"\0\0" + plaintext[6:10] + expected[10:12] + plaintext[12:]
    assert plaintext[: len(expected)] == expected
    assert len(plaintext) % 16 == 0


def test_a_ping_goes_back_to_where_its_source_leads(rig3: Rig) -> None:
    """An address of the peer's that is not its VTEP's pings as well."""
    rig3.dataplane.add_allowed_ip(3, (tunnel(77), 32))
    burst = rig3.receive(packet(echo(8, b""), 1, source=77), peer=3)
    assert [peer for peer, _ in rig3.opened(burst)] == [3]


def test_pings_are_answered_at_a_bounded_rate(rig: Rig) -> None:
    ping = packet(echo(8, b""), 1)
    answered = sum(len(rig.receive(ping).datagrams) for _ in range(1500))
    assert answered == 1000
    rig.now += SECOND // 10
    answered = sum(len(rig.receive(ping).datagrams) for _ in range(500))
    assert answered == 100
    assert rig.drops() == {Reason.SLOW_PATH: 900}


def test_the_bound_on_pings_does_not_touch_frames(rig: Rig) -> None:
    for _ in range(1500):
        rig.receive(packet(echo(8, b""), 1))
    assert rig.receive(carrying(FRAME)).frames == [(PORT, FRAME)]


def test_pings_of_other_addresses_are_not_answered(rig: Rig) -> None:
    for more in ({"destination": 99}, {"source": 99}):
        ends: dict[str, Any] = more
        assert rig.receive(packet(echo(8, b""), 1, **ends)).datagrams == []
    assert rig.drops() == {Reason.NO_ROUTE: 1, Reason.SOURCE_NOT_ALLOWED: 1}


# --- lengths at their limits ----------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_larger_than_our_own_mtu_is_heard(rig: Rig, family: int) -> None:
    """The MTU bounds what we send; what a peer managed to send us is welcome."""
    frame = frame_to(US, payload=bytes(9000))
    plaintext = carrying(frame, family=family)
    assert len(plaintext) > MTU
    assert rig.receive(plaintext).frames == [(PORT, frame)]


def test_the_shortest_frame_is_14_bytes(rig: Rig) -> None:
    frame = frame_to(US, payload=b"")
    assert len(frame) == 14
    assert rig.receive(carrying(frame)).frames == [(PORT, frame)]


def test_an_empty_packet_is_a_keepalive(rig: Rig) -> None:
    burst = rig.receive(b"")
    assert not any((burst.frames, burst.datagrams, rig.drops()))


def test_another_source_port_and_any_vxlan_port_of_ours(rig: Rig) -> None:
    """The source port is entropy only."""
    for port in (0, 1, 4789, 65535):
        ends = tunnel(2), tunnel(US)
        segment = udp(vxlan_header() + FRAME, *ends, ports=(port, 4789))
        assert rig.receive(packet(segment)).frames == [(PORT, FRAME)]


@pytest.mark.parametrize(
    "source",
    [
        *("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.254.0.1"),
        *("::", "::1", "ff02::1", "fd00:fe::1"),
    ],
)
def test_no_prefix_is_wide_enough_for_a_martian_or_our_own(rig: Rig, source: str) -> None:
    for everything in (bytes(4), bytes(16)):
        rig.dataplane.add_allowed_ip(2, (everything, 0))
    packed = address(source)
    there = tunnel(US, 4 if len(packed) == 4 else 6)
    segment = udp(vxlan_header() + frame_to(US), packed, there, ports=(50000, UDP_PORT))
    if len(packed) == 4:
        carried = ipv4(segment, protocol=17, source=packed, destination=there)
    else:
        carried = ipv6(segment, next_header=17, source=packed, destination=there)
    burst = rig.receive(carried)
    assert burst.frames == []
    assert rig.drops() == {Reason.SOURCE_NOT_ALLOWED: 1}
    assert rig.dataplane.network_counters(VNI).fdb_entries == 1

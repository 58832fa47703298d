"""A peer is where it last proved to be, and nothing less than proof moves it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.engines import SECOND, Node, Wire, connected, pair, peer_config
from tests.wireguard.insides import current, packet_side, snapshot
from tests.wireguard.speaker import Speaker, flood
from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.wireguard.sessions import Endpoint

HOME = Endpoint(bytes([192, 0, 2, 77]), 7777)
V6 = Endpoint(bytes.fromhex("20010db8000000000000000000000077"), 7777)
LINK_LOCAL = Endpoint(bytes.fromhex("fe800000000000000000000000000077"), 7777, scope=3)
PLACES = [HOME, HOME._replace(port=7778), V6, LINK_LOCAL, LINK_LOCAL._replace(scope=4)]


def where(node: Node, other: Node) -> Endpoint | None:
    return node.engine.dataplane.endpoint(node.peer(other).id)


def ipv4(source: bytes, destination: bytes) -> bytes:
    """An inner packet without content, as far as WireGuard looks."""
    return bytes([0x45, 0, 0, 20]) + bytes(8) + source + destination


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_an_accepted_initiation_moves_a_peer(place: Endpoint) -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    speaker = Speaker(2, node)
    [answer] = node.hear(speaker.initiation(wire.unix_now()), place).datagrams
    assert answer.endpoint == place
    assert node.engine.dataplane.endpoint(1) == place


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_an_accepted_response_moves_a_peer(place: Endpoint) -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    response = b.hear(wire.sent[0].data, a.endpoint).datagrams[0].data
    burst = a.hear(response, place)
    assert where(a, b) == place
    assert {d.endpoint for d in burst.datagrams} == {place}, "the confirmation goes there already"


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(
    ("plaintext", "drop"),
    [
        (b"", None),
        (ipv4(bytes([10, 254, 0, 1]), bytes([10, 254, 0, 2])), Reason.NOT_VXLAN),
        (ipv4(bytes([9, 9, 9, 9]), bytes([10, 254, 0, 2])), Reason.SOURCE_NOT_ALLOWED),
        (bytes(32), Reason.INNER_MALFORMED),
    ],
    ids=["keepalive", "data", "disallowed source", "no IP packet"],
)
def test_whatever_opens_moves_a_peer(
    place: Endpoint, plaintext: bytes, drop: Reason | None
) -> None:
    _, a, b = connected()
    if drop is Reason.NOT_VXLAN:
        plaintext = with_checksum(plaintext)
    b.hear(current(a, b).seal(plaintext), place)
    assert where(b, a) == place
    assert b.drops() == ({drop: 1} if drop else {})
    burst = b.engine.transmit(b.port, [bytes(a.mac) + b.mac + bytes(48)], b.wire.now)
    assert [d.endpoint for d in burst.datagrams] == [place]


def with_checksum(packet: bytes) -> bytes:
    """An IPv4 header with its checksum filled in."""
    words = sum(int.from_bytes(packet[i : i + 2], "big") for i in range(0, 20, 2))
    checksum = 0xFFFF - words % 0xFFFF
    return packet[:10] + checksum.to_bytes(2, "big") + packet[12:]


def forged(_: Wire, a: Node, b: Node) -> bytes:
    message = bytearray(current(a, b).seal(b""))
    message[-1] ^= 1
    return bytes(message)


def replayed(wire: Wire, a: Node, _: Node) -> bytes:
    return wire.sent_by(a, 4)[0].data


def replayed_initiation(wire: Wire, a: Node, _: Node) -> bytes:
    return wire.sent_by(a, 1)[0].data


def replayed_response(wire: Wire, _: Node, b: Node) -> bytes:
    return wire.sent_by(b, 2)[0].data


def expired(wire: Wire, a: Node, b: Node) -> bytes:
    message = current(a, b).seal(b"")
    wire.now += 180 * SECOND
    return message


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (forged, Reason.AUTH_FAILED),
        (replayed, Reason.REPLAYED),
        (replayed_initiation, Reason.HANDSHAKE_REPLAY),
        (replayed_response, Reason.BAD_MAC1),
        (expired, Reason.KEY_EXPIRED),
    ],
)
def test_what_proves_nothing_does_not_move_a_peer(
    make: Callable[[Wire, Node, Node], bytes], reason: Reason
) -> None:
    wire, a, b = connected()
    message = make(wire, a, b)
    before = snapshot(b)
    assert b.hear(message, HOME).datagrams == []
    assert b.drops() == {reason: 1}
    assert snapshot(b) == before


def test_a_response_replayed_to_its_receiver_does_not_move_a_peer() -> None:
    wire, a, b = connected()
    a.hear(wire.sent_by(b, 2)[0].data, HOME)
    assert where(a, b) == b.endpoint._replace(local=a.endpoint.ip)


def test_a_cookie_reply_does_not_move_a_peer() -> None:
    wire, a, b = pair()
    flood(b)
    wire.cut()
    a.send(b)
    [reply] = b.hear(wire.sent[0].data, a.endpoint).datagrams
    assert reply.data[0] == 3
    a.hear(reply.data, HOME)
    assert a.drops() == {}, "it was taken"
    assert where(a, b) == b.endpoint


def test_an_initiation_that_only_gets_a_cookie_reply_does_not_move_a_peer() -> None:
    wire, a, b = connected()
    wire.run(6 * SECOND)
    flood(b)
    a.engine.device.initiate(a.peer(b).id, wire.now)
    message = a.engine.transmit(a.port, [], wire.now).datagrams[0].data
    [reply] = b.hear(message, HOME).datagrams
    assert reply.data[0] == 3
    assert reply.endpoint == HOME
    assert where(b, a) == a.endpoint._replace(local=b.endpoint.ip)


def test_a_peer_that_moves_goes_on_without_a_handshake_ipv4_to_ipv6_and_back() -> None:
    wire, a, b = connected()
    wire.sent.clear()
    home = a.endpoint
    for place in (V6, home, HOME, LINK_LOCAL, home):
        a.endpoint = place
        a.send(b)
        frame = b.send(a)
        assert a.frames[-1] == frame
    assert {s.kind for s in wire.sent} == {4}
    assert len(b.frames) == 6
    assert a.drops() == b.drops() == {}


def test_the_reply_leaves_from_the_address_that_was_addressed() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    speaker = Speaker(2, node)
    addressed = HOME._replace(local=bytes([198, 51, 100, 9]))
    [answer] = node.hear(speaker.initiation(wire.unix_now()), addressed).datagrams
    assert answer.endpoint.local == bytes([198, 51, 100, 9])
    session = speaker.answered(answer.data, wire.now)
    elsewhere = addressed._replace(local=bytes([198, 51, 100, 10]))
    node.hear(session.seal(b""), elsewhere)
    assert node.engine.dataplane.endpoint(1) == elsewhere


def test_late_packets_of_the_old_place_move_a_peer_back_only_if_they_are_new() -> None:
    """An out-of-order packet is authentic and unseen, and so moves the peer, as in the kernel."""
    _, a, b = connected()
    early, late = current(a, b).seal(b""), current(a, b).seal(b"")
    b.hear(late, V6)
    assert where(b, a) == V6
    b.hear(early, HOME)
    assert where(b, a) == HOME
    b.hear(late, V6)
    assert where(b, a) == HOME
    assert b.drops() == {Reason.REPLAYED: 1}


def test_two_places_within_one_burst_end_at_the_last() -> None:
    wire, a, b = connected()
    session = current(a, b)
    batch = [Datagram(session.seal(b""), place) for place in (V6, LINK_LOCAL, HOME)]
    b.engine.receive(batch, wire.now)
    assert where(b, a) == HOME


# --- byte counters ------------------------------------------------------------------------------


def test_byte_counters_are_exact() -> None:
    wire, a, b = pair(keepalive=25)
    for turn in range(200):
        if turn % 3:
            a.send(b, bytes(turn))
        if turn % 5 == 0:
            b.send(a, bytes(2 * turn))
        wire.run(2 * SECOND + turn)
    sums = [sum(len(s.data) for s in wire.sent_by(node)) for node in (a, b)]
    assert {s.kind for s in wire.sent} == {1, 2, 4}
    assert a.engine.dataplane.peer_counters(a.peer(b).id) == (sums[1], sums[0])
    assert b.engine.dataplane.peer_counters(b.peer(a).id) == (sums[0], sums[1])


def test_what_is_refused_is_not_counted_and_what_opens_is() -> None:
    wire, a, b = connected()
    b.hear(replayed(wire, a, b), a.endpoint)
    b.hear(replayed_initiation(wire, a, b), a.endpoint)
    b.hear(forged(wire, a, b), a.endpoint)
    counted = packet_side(b, a).rx_bytes
    assert counted == sum(len(s.data) for s in wire.sent_by(a))
    b.hear(current(a, b).seal(ipv4(bytes(4), bytes(4))), a.endpoint)
    assert packet_side(b, a).rx_bytes == counted + 16 + 20 + 16
    assert b.drops()[Reason.SOURCE_NOT_ALLOWED] == 1


def test_outer_marks_of_handshakes_and_data() -> None:
    wire, _, _ = connected()
    assert [(s.kind, s.datagram.tos) for s in wire.sent] == [(1, 0x88), (2, 0x88), (4, 0)]

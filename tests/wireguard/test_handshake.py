"""Handshakes of whole engines: who confirms what, and what is refused."""

from __future__ import annotations

import itertools

import pytest

from tests.support.engines import (
    SECOND,
    START,
    Node,
    Wire,
    connected,
    ethernet,
    mesh,
    pair,
    peer_config,
    private_key,
    underlay_endpoint,
)
from tests.wireguard.insides import current, packet_side, snapshot, staged
from tests.wireguard.speaker import Speaker
from wgvx.config import PeerConfig
from wgvx.drops import Reason
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.tai64n import TimestampSource

MILLISECOND = 1_000_000
YEAR = 365 * 86400 * SECOND
INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4


def counter(message: bytes) -> int:
    return int.from_bytes(message[8:16], "little")


# --- confirmation -------------------------------------------------------------------------------


def test_an_initiator_without_data_confirms_with_a_keepalive() -> None:
    wire, a, b = pair()
    a.initiate(b)
    assert [(s.sender, s.kind, len(s.data)) for s in wire.sent] == [
        (a, INITIATION, 148),
        (b, RESPONSE, 92),
        (a, TRANSPORT, 32),
    ]
    for node, other in ((a, b), (b, a)):
        assert node.engine.device.latest_handshake(node.peer(other).id) == wire.unix_now()


def test_an_initiator_confirms_with_what_is_staged_in_order_and_nothing_else() -> None:
    wire, a, b = pair()
    wire.loses = lambda sent: sent.kind == RESPONSE
    frames = [a.send(b, f"frame {number}".encode()) for number in range(5)]
    assert b.frames == []
    wire.mend()
    wire.run(6 * SECOND)
    assert b.frames == frames
    data = wire.sent_by(a, TRANSPORT)
    assert [counter(sent.data) for sent in data] == [0, 1, 2, 3, 4]
    assert all(len(sent.data) > 32 for sent in data)
    assert len(wire.sent_by(a, INITIATION)) == 2


def test_a_responder_sends_no_data_before_it_is_confirmed_then_from_counter_0() -> None:
    wire, a, b = pair()
    wire.loses = lambda sent: sent.kind == TRANSPORT
    a.initiate(b)
    frames = [b.send(a, f"early {number}".encode()) for number in range(3)]
    assert wire.sent_by(b, TRANSPORT) == []
    assert len(staged(b, a)) == 3
    assert b.engine.device.latest_handshake(b.peer(a).id) == 0
    wire.mend()
    a.send(b)
    assert a.frames == frames
    assert [counter(sent.data) for sent in wire.sent_by(b, TRANSPORT)] == [0, 1, 2]
    assert staged(b, a) == []
    assert b.engine.device.latest_handshake(b.peer(a).id) == wire.unix_now()


def test_an_unconfirmed_session_does_not_replace_the_one_in_use() -> None:
    wire, a, b = connected()
    in_use = current(b, a)
    wire.loses = lambda sent: sent.kind == TRANSPORT and sent.sender is a
    wire.run(6 * SECOND)
    a.initiate(b)
    assert current(b, a) is in_use
    assert packet_side(b, a).slots.next is not None
    b.send(a)
    assert len(a.frames) == 1, "a still opens what comes under its previous session"


def test_initiations_are_at_least_5_seconds_apart_and_no_more() -> None:
    wire, a, b = pair()
    a.initiate(b)
    wire.now += 5 * SECOND - 1
    a.initiate(b)
    assert len(wire.sent_by(a, INITIATION)) == 1
    wire.now += 1
    a.initiate(b)
    assert len(wire.sent_by(a, INITIATION)) == 2


# --- indices ------------------------------------------------------------------------------------


def test_receiver_indices_are_random_32_bit_numbers() -> None:
    wire, a, b = pair()
    for _ in range(40):
        a.initiate(b)
        wire.run(6 * SECOND)
    indices = [int.from_bytes(s.data[4:8], "little") for s in wire.sent if s.kind < 3]
    assert len(indices) == len(set(indices)) == 80
    # Each bit is drawn: over 80 numbers none is always 0 or always 1.
    assert all(0 < sum(index >> bit & 1 for index in indices) < 80 for bit in range(32))


def test_an_index_in_use_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = mesh(3)[1]
    a.initiate(b)
    taken = current(a, b).local_index.to_bytes(4, "little")
    draws = itertools.chain([taken, taken, b"\1\2\3\4"], itertools.repeat(b"\0\0\0\0"))
    plain = a.engine.device._random
    monkeypatch.setattr(a.engine.device, "_random", lambda n: next(draws) if n == 4 else plain(n))
    a.initiate(c)
    assert current(a, c).local_index == 0x04030201
    a.send(b)
    assert len(b.frames) == 1


# --- replay, order and rate of initiations ------------------------------------------------------


@pytest.fixture
def listening() -> tuple[Wire, Node, Speaker]:
    """A node, and its peer 2 spoken by hand."""
    wire = Wire()
    return wire, (node := wire.add(1, [peer_config(2)])), Speaker(2, node)


HERE = underlay_endpoint(2)


def test_a_replayed_initiation_is_refused(listening: tuple[Wire, Node, Speaker]) -> None:
    wire, node, speaker = listening
    message = speaker.initiation(wire.unix_now())
    assert len(node.hear(message, HERE).datagrams) == 1
    wire.now += SECOND
    before = snapshot(node)
    assert node.hear(message, underlay_endpoint(66)).datagrams == []
    assert node.drops() == {Reason.HANDSHAKE_REPLAY: 1}
    assert snapshot(node) == before


@pytest.mark.parametrize(
    ("step", "accepted"),
    [(-YEAR, False), (-1, False), (0, False), (1 << 24, True), (SECOND, True), (50 * YEAR, True)],
)
def test_stamps_must_rise(listening: tuple[Wire, Node, Speaker], step: int, accepted: bool) -> None:
    wire, node, speaker = listening
    first = wire.unix_now()
    node.hear(speaker.initiation(first), HERE)
    wire.now += SECOND
    answered = node.hear(speaker.initiation(first + step), HERE).datagrams
    assert len(answered) == accepted
    assert node.drops() == ({} if accepted else {Reason.HANDSHAKE_REPLAY: 1})


def test_a_first_stamp_from_the_future_is_accepted(
    listening: tuple[Wire, Node, Speaker],
) -> None:
    wire, node, speaker = listening
    assert node.hear(speaker.initiation(wire.unix_now() + 1000 * YEAR), HERE).datagrams
    wire.now += SECOND
    assert not node.hear(speaker.initiation(wire.unix_now()), HERE).datagrams


def test_the_all_zero_stamp_is_no_greater_than_none(
    listening: tuple[Wire, Node, Speaker],
) -> None:
    _, node, speaker = listening
    assert not node.hear(speaker.initiation(0, stamp=bytes(12)), HERE).datagrams
    assert node.drops() == {Reason.HANDSHAKE_REPLAY: 1}


def test_initiations_of_one_peer_come_20_milliseconds_apart(
    listening: tuple[Wire, Node, Speaker],
) -> None:
    wire, node, speaker = listening

    def accepted() -> bool:
        wire.unix_offset += SECOND
        return bool(node.hear(speaker.initiation(wire.unix_now()), HERE).datagrams)

    assert accepted()
    wire.now += 20 * MILLISECOND - 1
    before = snapshot(node)
    assert not accepted()
    assert node.drops() == {Reason.HANDSHAKE_RATE: 1}
    assert snapshot(node) == before
    wire.now += 1
    assert accepted()
    answers = 0
    for _ in range(1000):
        wire.now += MILLISECOND
        answers += accepted()
    assert answers == 50


def test_a_flood_from_one_peer_does_not_slow_another() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2), peer_config(3)])
    one, other = Speaker(2, node), Speaker(3, node)
    for _ in range(50):
        wire.unix_offset += SECOND
        node.hear(one.initiation(wire.unix_now()), HERE)
    assert node.hear(other.initiation(wire.unix_now()), underlay_endpoint(3)).datagrams


def test_a_restart_that_kept_its_stamp_is_heard_again_with_the_clock_set_back() -> None:
    wire, a, b = connected()
    wire.run(SECOND)
    stored = [START + wire.unix_offset + 60 * SECOND]
    wire.unix_offset -= YEAR
    again = wire.add(1, [peer_config(2)], timestamps=TimestampSource(stored[-1], stored.append))
    again.knows(b)
    again.send(b)
    assert len(b.frames) == 2
    assert b.drops() == {}
    assert a.drops() == {}


def test_a_restart_that_lost_its_stamp_is_mute_with_the_clock_set_back() -> None:
    wire, _, b = connected()
    wire.run(SECOND)
    wire.unix_offset -= YEAR
    again = wire.add(1, [peer_config(2)])
    again.knows(b)
    again.send(b)
    assert len(b.frames) == 1
    assert b.drops() == {Reason.HANDSHAKE_REPLAY: 1}


# --- who may speak ------------------------------------------------------------------------------


def test_a_stranger_gets_no_answer(listening: tuple[Wire, Node, Speaker]) -> None:
    wire, node, _ = listening
    before = snapshot(node)
    stranger = Speaker(99, node)
    assert not node.hear(stranger.initiation(wire.unix_now()), underlay_endpoint(99)).datagrams
    assert node.drops() == {Reason.HANDSHAKE_FAILED: 1}
    assert snapshot(node) == before


def test_who_knows_a_peers_public_key_alone_cannot_speak_for_it(
    listening: tuple[Wire, Node, Speaker],
) -> None:
    wire, node, speaker = listening
    before = snapshot(node)
    speaker.private = private_key(99)  # The static key it claims stays the peer's.
    assert not node.hear(speaker.initiation(wire.unix_now()), HERE).datagrams
    assert node.drops() == {Reason.HANDSHAKE_FAILED: 1}
    assert snapshot(node) == before


def test_a_wrong_preshared_key_shows_at_the_initiator_only() -> None:
    wire = Wire()
    a = wire.add(1, [peer_config(2, preshared_key=bytes([1] * 32))])
    b = wire.add(2, [peer_config(1, preshared_key=bytes([2] * 32))])
    a.knows(b)
    a.send(b)
    assert [(s.sender, s.kind) for s in wire.sent] == [(a, INITIATION), (b, RESPONSE)]
    assert a.drops() == {Reason.HANDSHAKE_FAILED: 1}
    assert b.drops() == {}
    assert packet_side(a, b).slots.current is None
    assert a.engine.device.latest_handshake(a.peer(b).id) == 0
    wire.run(12 * SECOND)
    assert len(wire.sent_by(a, INITIATION)) == 3, "it goes on trying"


def test_a_preshared_key_on_one_side_alone_does_not_do() -> None:
    wire = Wire()
    a = wire.add(1, [peer_config(2, preshared_key=bytes([1] * 32))])
    b = wire.add(2, [peer_config(1)])
    a.knows(b)
    a.send(b)
    assert b.frames == []
    assert a.drops() == {Reason.HANDSHAKE_FAILED: 1}


@pytest.mark.parametrize("preshared_key", [bytes([7] * 32), None])
def test_a_changed_preshared_key_takes_effect_with_the_next_handshake(
    preshared_key: bytes | None,
) -> None:
    wire, a, b = connected(preshared_key=bytes([3] * 32))
    a.engine.device.set_preshared_key(a.peer(b).id, preshared_key)
    a.send(b)
    assert len(b.frames) == 2, "the session in use stays"
    wire.run(6 * SECOND)
    a.initiate(b)
    assert a.drops() == {Reason.HANDSHAKE_FAILED: 1}
    b.engine.device.set_preshared_key(b.peer(a).id, preshared_key)
    old = current(a, b)
    wire.run(6 * SECOND)
    assert current(a, b) is not old


def test_a_preshared_key_changed_while_a_handshake_runs_counts() -> None:
    wire, a, b = pair()
    wire.loses = lambda sent: sent.kind == INITIATION
    a.initiate(b)
    message = wire.sent[0].data
    a.engine.device.set_preshared_key(a.peer(b).id, bytes([7] * 32))
    b.engine.device.set_preshared_key(b.peer(a).id, bytes([7] * 32))
    wire.mend()
    wire.carry(b, b.hear(message, a.endpoint))
    assert current(a, b) is not None
    assert a.drops() == b.drops() == {}


LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("public_key", LOW_ORDER, ids=lambda key: key[:2].hex())
def test_a_peer_with_a_low_order_key_is_never_sent_anything(public_key: bytes) -> None:
    wire = Wire()
    low = PeerConfig(public_key, None, None, None, peer_config(2).allowed_ips, 5)
    node = wire.add(1, [low])
    node.engine.set_endpoint(node.engine.peers[public_key], underlay_endpoint(2), wire.now)
    burst = node.engine.transmit(node.port, [ethernet(b"\2" * 6, node.mac)], wire.now)
    wire.carry(node, burst)
    wire.run(300 * SECOND)
    assert wire.sent == []

    speaker = Speaker(2, node)
    speaker.public = public_key
    assert not node.hear(speaker.initiation(wire.unix_now()), underlay_endpoint(2)).datagrams
    assert node.drops() == {Reason.HANDSHAKE_FAILED: 1}


def test_a_low_order_ephemeral_is_refused(listening: tuple[Wire, Node, Speaker]) -> None:
    wire, node, speaker = listening
    before = snapshot(node)
    genuine = speaker.initiation(wire.unix_now())
    for point in LOW_ORDER:
        message = speaker.cookie.add_macs(genuine[:8] + point + genuine[40:116], wire.now)
        assert not node.hear(message, HERE).datagrams
    assert node.drops() == {Reason.HANDSHAKE_FAILED: len(LOW_ORDER)}
    assert snapshot(node) == before


# --- responses ----------------------------------------------------------------------------------


def test_a_response_is_taken_once() -> None:
    wire, a, b = connected()
    response = wire.sent_by(b, RESPONSE)[0].data
    before = snapshot(a)
    assert a.hear(response, underlay_endpoint(66)).datagrams == []
    assert a.drops() == {Reason.UNKNOWN_INDEX: 1}
    assert snapshot(a) == before


def test_a_response_to_an_initiation_since_retried_is_refused() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    late = b.hear(wire.sent[0].data, a.endpoint).datagrams[0].data
    wire.run(6 * SECOND)
    assert len(wire.sent_by(a, INITIATION)) == 2
    a.hear(late, b.endpoint)
    assert a.drops() == {Reason.UNKNOWN_INDEX: 1}


def test_a_response_of_another_peer_does_not_complete_a_handshake() -> None:
    """Peer 3 saw the initiation to peer 2 and answers it under the index it read there."""
    wire = Wire()
    a = wire.add(1, [peer_config(2), peer_config(3)])
    a.engine.set_endpoint(a.engine.peers[dh_public(private_key(2))], HERE, wire.now)
    a.engine.device.initiate(1, wire.now)
    seen = a.engine.transmit(a.port, [], wire.now).datagrams[0].data
    third = Speaker(3, a)
    third.initiation(wire.unix_now())
    forged = bytearray(third.answer(_to(third, a), wire.now)[:60])
    forged[8:12] = seen[4:8]
    before = snapshot(a)
    a.hear(third.cookie.add_macs(bytes(forged), wire.now), underlay_endpoint(3))
    assert a.drops() == {Reason.HANDSHAKE_FAILED: 1}
    assert snapshot(a) == before


def _to(speaker: Speaker, node: Node) -> bytes:
    """An initiation of node 1's to the speaker: made with the node's key."""
    wire = node.wire
    elsewhere = Wire(seed="elsewhere")
    listener = elsewhere.add(3, [])
    other = Speaker(1, listener)
    assert speaker.public == listener.public_key
    return other.initiation(wire.unix_now())

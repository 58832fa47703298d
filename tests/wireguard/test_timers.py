"""Every timer of section 6 of the paper, on a clock that only the test moves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.engines import SECOND, START, connected, pair
from tests.wireguard.insides import current, handshake_side, packet_side, staged
from tests.wireguard.timing import initiations, keepalives, quiet_pair
from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.wireguard.sessions import Event

INITIATION, RESPONSE, TRANSPORT = 1, 2, 4
JITTER = SECOND // 3


# --- retry and give up --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_mute_peer_is_asked_20_times_then_given_up(seed: int) -> None:
    wire, a, b = pair(seed=seed)
    wire.cut()
    for _ in range(3):
        a.send(b)
    wire.run(600 * SECOND)
    asked = initiations(wire, a)
    assert len(asked) == 20
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert all(5 * SECOND <= gap <= 5 * SECOND + JITTER for gap in gaps)
    assert len(set(gaps)) > 15, "the jitter is drawn anew each time"
    assert 95 * SECOND <= asked[-1] <= 19 * (5 * SECOND + JITTER)
    assert a.drops() == {Reason.HANDSHAKE_TIMEOUT: 3}
    assert staged(a, b) == []


def test_staged_packets_wait_until_the_last_attempt_has_failed() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    wire.run(95 * SECOND)
    assert len(initiations(wire, a)) >= 19
    wire.run_until(START + initiations(wire, a)[-1] + 5 * SECOND - 1)
    assert len(staged(a, b)) == 1
    wire.mend()
    wire.run(6 * SECOND)
    assert len(b.frames) == 1
    assert a.drops() == {}


def test_data_after_giving_up_starts_over_with_20_attempts() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    wire.run(200 * SECOND)
    wire.sent.clear()
    a.send(b)
    wire.run(200 * SECOND)
    assert len(initiations(wire, a)) == 20
    assert a.drops() == {Reason.HANDSHAKE_TIMEOUT: 2}


def test_data_while_trying_asks_for_90_more_seconds_and_no_sooner_attempt() -> None:
    wire, a, b = pair()
    wire.cut()
    for _ in range(60):
        a.send(b)
        wire.run(SECOND)
    wire.run(600 * SECOND)
    asked = initiations(wire, a)
    assert all(b - a >= 5 * SECOND for a, b in pairwise(asked))
    assert 12 + 18 <= len(asked) <= 12 + 20
    assert a.drops() == {Reason.HANDSHAKE_TIMEOUT: 60}


def test_a_peer_without_an_answer_is_told_as_unreachable_until_it_answers() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    assert list(a.engine.waiting()) == []
    wire.run(6 * SECOND)
    assert list(a.engine.waiting()) == [a.peer(b)]
    assert list(a.engine.waiting()) == [], "once per attempt"
    wire.run(6 * SECOND)
    wire.mend()
    wire.run(6 * SECOND)
    assert list(a.engine.waiting()) == []


@pytest.mark.parametrize("has_session", [True, False])
def test_silence_lets_the_routing_table_choose_our_address_again(has_session: bool) -> None:
    wire, a, b = connected()
    wire.run(10 * SECOND if has_session else 600 * SECOND)
    assert packet_side(a, b).endpoint == b.endpoint._replace(local=a.endpoint.ip)
    wire.cut()
    a.send(b)
    assert packet_side(a, b).endpoint != b.endpoint
    wire.run(16 * SECOND if has_session else 6 * SECOND)
    assert len(initiations(wire, a)) == (2 if has_session else 3)
    assert packet_side(a, b).endpoint == b.endpoint


# --- staging ------------------------------------------------------------------------------------


def test_128_packets_are_staged_and_the_oldest_goes_first() -> None:
    wire, a, b = pair()
    wire.cut()
    frames = [a.send(b, number.to_bytes(4, "big")) for number in range(130)]
    assert len(staged(a, b)) == 128
    assert a.drops() == {Reason.STAGED_OVERFLOW: 2}
    wire.mend()
    wire.run(6 * SECOND)
    assert b.frames == frames[2:]


def test_a_dead_session_stages_what_follows() -> None:
    wire, a, b = connected()
    b.send(a)
    wire.cut()
    wire.run(181 * SECOND)
    b.send(a)
    assert len(staged(b, a)) == 1


# --- passive keepalive --------------------------------------------------------------------------


def test_a_keepalive_10_seconds_after_the_first_data_that_was_not_answered() -> None:
    wire, a, b = quiet_pair()
    begin = wire.now - START
    a.send(b)
    wire.run(60 * SECOND)
    assert keepalives(wire, b) == [begin + 10 * SECOND]
    assert keepalives(wire, a) == [], "none in answer to a keepalive"
    assert initiations(wire, a) == [], "it was an answer"


def test_an_answer_in_time_makes_a_keepalive_needless() -> None:
    wire, a, b = quiet_pair()
    a.send(b)
    wire.run(10 * SECOND - 1)
    b.send(a)
    wire.run(10 * SECOND - 1)
    assert keepalives(wire, a) == keepalives(wire, b) == []


def test_more_data_meanwhile_brings_another_keepalive() -> None:
    wire, a, b = quiet_pair()
    begin = wire.now - START
    a.send(b)
    wire.run(4 * SECOND)
    a.send(b)
    wire.run(60 * SECOND)
    assert keepalives(wire, b) == [begin + 10 * SECOND, begin + 20 * SECOND]


def test_more_data_that_was_answered_brings_no_other_keepalive_later() -> None:
    wire, a, b = quiet_pair()
    a.send(b)
    a.send(b)
    b.send(a)
    a.send(b)
    begin = wire.now - START
    wire.run(60 * SECOND)
    assert keepalives(wire, b) == [begin + 10 * SECOND]


def test_one_way_traffic_is_answered_every_10_seconds() -> None:
    wire, a, b = quiet_pair()
    begin = wire.now - START
    for _ in range(60):
        a.send(b)
        wire.run(SECOND)
    answered = [at - begin for at in keepalives(wire, b)]
    assert answered == [n * 10 * SECOND for n in range(1, 7)]
    assert initiations(wire, a) == []


def test_data_that_follows_an_answer_starts_a_new_10_seconds() -> None:
    wire, a, b = quiet_pair()
    begin = wire.now - START
    a.send(b)
    wire.run(3 * SECOND)
    b.send(a)
    wire.run(4 * SECOND)
    a.send(b)
    wire.run(60 * SECOND)
    assert keepalives(wire, b) == [begin + 17 * SECOND]


def test_a_handshake_message_counts_as_an_answer() -> None:
    wire, a, b = quiet_pair()
    wire.run_until(START + 118 * SECOND)
    a.send(b)
    wire.run(2 * SECOND)
    a.send(b)  # The rekey at 120 s: b's response goes out, then its timer starts over.
    assert initiations(wire, a) == [120 * SECOND]
    wire.run(60 * SECOND)
    assert all(at >= 130 * SECOND for at in keepalives(wire, b))


def test_a_keepalive_is_owed_also_after_an_attempt_was_given_up() -> None:
    """What is received when a handshake is given up must not stop later keepalives."""
    wire, a, b = connected()
    b.send(a)
    old = current(a, b)
    wire.loses = lambda sent: sent.sender is b
    wire.run_until(START + 60 * SECOND)
    b.engine.set_private_key(None, wire.now)
    b.engine.set_private_key(bytes([9] * 32), wire.now)
    b.send(a)
    assert initiations(wire, b) == [60 * SECOND]
    # b hears a all the while, under the session that it cannot send by any more.
    while handshake_side(b, a).deadlines.attempts < 19:
        wire.run(SECOND // 2)
    wire.run(3 * SECOND)
    wire.carry(b, b.hear(old.seal(b"\x45" + bytes(19)), a.endpoint))
    wire.run(4 * SECOND)
    assert b.drops()[Reason.HANDSHAKE_TIMEOUT] == 1
    wire.sent.clear()
    wire.carry(b, b.hear(old.seal(b"\x45" + bytes(19)), a.endpoint))
    wire.run(10 * SECOND)
    assert len(initiations(wire, b)) == 1, "a keepalive was due, and there is no key for it"


# --- new handshake ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_new_handshake_15_seconds_after_the_first_data_that_nobody_answered(seed: int) -> None:
    wire, a, b = connected(seed=seed)
    b.send(a)
    wire.run(20 * SECOND)
    wire.cut()
    wire.sent.clear()
    begin = wire.now - START
    for _ in range(14):
        a.send(b)
        wire.run(SECOND)
    wire.run(2 * SECOND)
    asked = initiations(wire, a)
    assert len(asked) == 1
    assert begin + 15 * SECOND <= asked[0] <= begin + 15 * SECOND + JITTER
    wire.run(100 * SECOND)
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert all(5 * SECOND <= gap <= 5 * SECOND + JITTER for gap in gaps)


def test_the_15_seconds_begin_with_data_after_the_last_thing_heard() -> None:
    wire, a, b = quiet_pair()
    a.send(b)
    wire.run(5 * SECOND)
    b.send(a)
    wire.run(5 * SECOND)
    wire.cut()
    begin = wire.now - START
    a.send(b)
    wire.run(30 * SECOND)
    assert begin + 15 * SECOND <= initiations(wire, a)[0] <= begin + 15 * SECOND + JITTER


def test_a_keepalive_alone_expects_no_answer() -> None:
    wire, a, b = quiet_pair()
    a.send(b)
    wire.run(9 * SECOND)
    wire.cut()
    wire.run(100 * SECOND)
    assert len(keepalives(wire, b)) == 1
    assert initiations(wire, b) == []


def test_a_second_silence_is_noticed_like_the_first() -> None:
    wire, a, b = quiet_pair()
    for _ in range(3):
        wire.cut()
        a.send(b)
        wire.run(16 * SECOND)
        wire.mend()
        wire.run(30 * SECOND)
        b.send(a)
        wire.run(30 * SECOND)
    asked = initiations(wire, a)
    assert [at // SECOND for at in asked][::2] == [20 + 15 + 76 * n for n in range(3)]


def test_silence_after_an_attempt_given_up_is_noticed_under_the_same_session() -> None:
    wire, a, b = quiet_pair()
    wire.cut()
    b.send(a)
    wire.run_until(START + 140 * SECOND)
    assert len(initiations(wire, b)) == 20
    wire.sent.clear()
    b.send(a)
    assert len(wire.sent_by(b, TRANSPORT)) == 1, "the session is good until 180"
    wire.run(16 * SECOND)
    assert len(initiations(wire, b)) == 1


def test_what_awaits_an_answer_is_told_once_until_its_timer_lets_go() -> None:
    wire, a, b = connected()
    plane, peer = b.engine.dataplane, b.peer(a).id
    session = current(a, b)

    def told() -> dict[int, Event]:
        """What is told when data comes in that the layers above make nothing of."""
        return plane.receive([Datagram(session.seal(b"junk"), a.endpoint)], wire.now).events

    plane.disarm(peer, Event.ARM_RX)
    assert told() == {peer: Event.ARM_RX}
    assert told() == {}
    packet_side(b, a).sent(32, wire.now)
    assert told() == {}
    plane.disarm(peer, Event.ARM_RX)
    assert told() == {peer: Event.ARM_RX}


def test_the_other_end_restarted_is_found_again_within_21_seconds() -> None:
    wire, a, b = quiet_pair()
    again = wire.add(2, [], timestamps=None)
    again.engine.add_peer(a.public_key)
    again.engine.dataplane.add_allowed_ip(1, (bytes([10, 254, 0, 1]), 32))
    assert again.public_key == b.public_key
    begin = wire.now
    while not again.frames:
        a.send(again)
        wire.run(SECOND)
    assert wire.now - begin <= 17 * SECOND
    assert again.drops().keys() == {Reason.UNKNOWN_INDEX}


# --- persistent keepalive -----------------------------------------------------------------------


def test_turning_persistent_keepalive_on_handshakes_at_once() -> None:
    wire, a, b = pair(keepalive=25)
    assert [(s.at - START, s.sender, s.kind, len(s.data)) for s in wire.sent] == [
        (0, a, INITIATION, 148),
        (0, b, RESPONSE, 92),
        (0, a, TRANSPORT, 32),
    ]
    wire.run(100 * SECOND)
    assert keepalives(wire, a) == [n * 25 * SECOND for n in range(5)]


def test_turning_it_on_with_a_session_sends_a_keepalive_at_once() -> None:
    wire, a, b = quiet_pair()
    begin = wire.now - START
    a.engine.device.set_persistent_keepalive(a.peer(b).id, 25, wire.now)
    wire.run(60 * SECOND)
    assert keepalives(wire, a) == [begin, begin + 25 * SECOND, begin + 50 * SECOND]
    a.engine.device.set_persistent_keepalive(a.peer(b).id, 0, wire.now)
    wire.sent.clear()
    wire.run(100 * SECOND)
    assert wire.sent == []


def test_another_interval_counts_from_the_change_and_sends_nothing_at_once() -> None:
    wire, a, b = quiet_pair()
    a.engine.device.set_persistent_keepalive(a.peer(b).id, 25, wire.now)
    wire.run(5 * SECOND)
    wire.sent.clear()
    a.engine.device.set_persistent_keepalive(a.peer(b).id, 7, wire.now)
    begin = wire.now - START
    wire.run(15 * SECOND)
    first, second = keepalives(wire, a)
    assert begin < first <= begin + 7 * SECOND
    assert second == first + 7 * SECOND


@pytest.mark.parametrize("by_sending", [True, False])
def test_traffic_puts_the_persistent_keepalive_off(by_sending: bool) -> None:
    wire, a, b = pair(keepalive=25)
    b.send(a)
    wire.run(20 * SECOND)
    wire.sent.clear()
    begin = wire.now - START
    sender, receiver = (a, b) if by_sending else (b, a)
    sender.send(receiver)
    wire.run(65 * SECOND)
    # The other's passive keepalive, 10 seconds later, is traffic too.
    assert keepalives(wire, receiver)[0] == begin + 10 * SECOND
    later = [at for at in keepalives(wire, a) if at != begin + 10 * SECOND]
    assert later == [begin + 35 * SECOND, begin + 60 * SECOND]


def test_a_persistent_keepalive_survives_a_peer_that_is_away_for_an_hour() -> None:
    wire, a, b = pair(keepalive=25)
    wire.run(60 * SECOND)
    wire.cut()
    wire.run(3600 * SECOND)
    wire.mend()
    wire.run(30 * SECOND)
    b.send(a)
    assert len(a.frames) == 1
    assert a.drops() == b.drops() == {}


def test_a_persistent_keepalive_asks_in_earnest_each_time() -> None:
    wire, a, _ = pair(keepalive=25)
    wire.cut()
    wire.run(3600 * SECOND)
    gaps = [later - earlier for earlier, later in pairwise(initiations(wire, a)[1:])]
    assert all(gap <= 5 * SECOND + JITTER or gap == 25 * SECOND for gap in gaps)
    assert gaps.count(25 * SECOND) == len(gaps) // 20


def test_a_session_with_persistent_keepalive_lives_on_without_data() -> None:
    wire, a, b = pair(keepalive=25)
    for _ in range(100):
        wire.run(61 * SECOND)
        b.send(a)
    assert len(a.frames) == 100
    assert a.drops() == b.drops() == {}


# --- zeroise ------------------------------------------------------------------------------------


def test_all_keys_are_gone_540_seconds_after_the_last_session() -> None:
    wire, a, b = connected()
    wire.run(540 * SECOND - 1)
    assert list(packet_side(a, b).slots)
    assert list(packet_side(b, a).slots)
    wire.run(1)
    for node, other in ((a, b), (b, a)):
        assert list(packet_side(node, other).slots) == []
        assert node.engine.device._initiated == {}
    b.hear(wire.sent_by(a, TRANSPORT)[0].data, a.endpoint)
    assert b.drops() == {Reason.UNKNOWN_INDEX: 1}
    frame = b.send(a)
    assert a.frames == [frame]


def test_a_new_session_puts_the_zeroing_off() -> None:
    wire, a, b = connected()
    wire.run(400 * SECOND)
    a.send(b)
    wire.run(400 * SECOND)
    assert packet_side(a, b).slots.current is not None
    wire.run(140 * SECOND)
    assert packet_side(a, b).slots.current is None


def test_a_session_that_was_never_confirmed_is_zeroed_too() -> None:
    wire, a, b = pair()
    wire.loses = lambda sent: sent.kind == RESPONSE
    a.send(b)
    assert packet_side(b, a).slots.next is not None
    wire.run(800 * SECOND)
    assert list(packet_side(b, a).slots) == []


def test_the_ephemeral_key_of_an_attempt_given_up_is_zeroed() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    wire.run(110 * SECOND)
    assert handshake_side(a, b).initiated is not None
    wire.run(540 * SECOND)
    assert handshake_side(a, b).initiated is None
    assert a.engine.device._initiated == {}


def test_an_idle_node_has_nothing_to_do_but_ageing() -> None:
    wire, a, b = connected()
    wire.run(1000 * SECOND)
    assert a.engine.device.next_deadline() is None
    assert b.engine.device.next_deadline() is None

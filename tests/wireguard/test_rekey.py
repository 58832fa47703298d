"""When a session is replaced: by age, by use, and by whom."""

from __future__ import annotations

import pytest

from tests.support.engines import SECOND, START, Node, Wire, connected
from tests.wireguard.insides import current, staged
from tests.wireguard.timing import initiations, keepalives, quiet_pair
from wgvx.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES

INITIATION, TRANSPORT = 1, 4


def test_the_initiator_rekeys_at_120_seconds_when_it_sends() -> None:
    wire, a, b = quiet_pair()
    first = current(a, b)
    wire.run_until(START + 120 * SECOND - 1)
    a.send(b)
    b.send(a)
    assert initiations(wire, a) == []
    wire.now += 1
    a.send(b)
    assert initiations(wire, a) == [120 * SECOND]
    assert current(a, b) is not first
    assert current(a, b).initiator
    assert not current(b, a).initiator
    assert initiations(wire, b) == []


def test_a_keepalive_of_the_initiator_rekeys_too() -> None:
    wire, a, b = quiet_pair()
    wire.run_until(START + 115 * SECOND)
    b.send(a)
    wire.run_until(START + 126 * SECOND)
    assert keepalives(wire, a)[0] == 125 * SECOND
    assert initiations(wire, a) == [125 * SECOND]


def test_nothing_to_send_is_nothing_to_rekey() -> None:
    wire, a, b = quiet_pair()
    wire.run(900 * SECOND)
    assert wire.sent_by(a, INITIATION) == wire.sent_by(b, INITIATION) == []


def hear_data(wire: Wire, a: Node, b: Node) -> None:
    """``b``'s data reaches ``a``, but nothing of ``a``'s gets back."""
    wire.loses = lambda sent: sent.sender is a
    b.send(a)


def test_the_initiator_rekeys_at_165_seconds_on_receiving() -> None:
    wire, a, b = quiet_pair()
    wire.run_until(START + 165 * SECOND - 1)
    hear_data(wire, a, b)
    assert initiations(wire, a) == []
    wire.now += 1
    hear_data(wire, a, b)
    assert initiations(wire, a) == [165 * SECOND]
    wire.run(2 * SECOND)
    hear_data(wire, a, b)
    assert initiations(wire, a) == [165 * SECOND], "it asks once; the retry timer does the rest"
    wire.run(4 * SECOND)
    assert len(initiations(wire, a)) == 2


def test_a_keepalive_received_at_165_seconds_is_received_too() -> None:
    wire, a, b = quiet_pair()
    wire.run_until(START + 165 * SECOND)
    wire.carry(a, a.hear(current(b, a).seal(b""), b.endpoint))
    assert initiations(wire, a) == [165 * SECOND]


def test_the_responder_never_rekeys_on_age_alone() -> None:
    wire, a, b = quiet_pair()
    wire.loses = lambda sent: sent.sender is a and sent.kind != TRANSPORT
    while wire.now < START + 179 * SECOND:
        wire.run(SECOND)
        b.send(a)
        a.send(b)
    assert initiations(wire, b) == []
    assert len(initiations(wire, a)) > 5
    wire.run_until(START + 180 * SECOND - 1)
    b.send(a)
    assert initiations(wire, b) == []


def test_the_responder_initiates_after_180_seconds_with_data_to_send() -> None:
    wire, a, b = quiet_pair()
    wire.run_until(START + 180 * SECOND - 1)
    before = len(a.frames)
    wire.now += 1
    frame = b.send(a)
    assert initiations(wire, b) == [180 * SECOND]
    assert a.frames[before:] == [frame]
    assert current(b, a).initiator, "the roles have changed"
    assert not current(a, b).initiator


@pytest.mark.parametrize("by_initiator", [True, False])
def test_either_side_rekeys_after_2_to_the_60_messages(by_initiator: bool) -> None:
    wire, a, b = quiet_pair()
    sender, receiver = (a, b) if by_initiator else (b, a)
    wire.run(10 * SECOND)
    current(sender, receiver).send_counter = REKEY_AFTER_MESSAGES - 1
    sender.send(receiver)
    assert initiations(wire, sender) == []
    sender.send(receiver)
    assert len(initiations(wire, sender)) == 1
    assert current(sender, receiver).send_counter < 2
    assert receiver.drops() == {}


@pytest.mark.parametrize("by_initiator", [True, False])
def test_nothing_is_sent_after_reject_after_messages(by_initiator: bool) -> None:
    wire, a, b = quiet_pair()
    sender, receiver = (a, b) if by_initiator else (b, a)
    wire.run(10 * SECOND)
    wire.loses = lambda sent: sent.kind == INITIATION
    current(sender, receiver).send_counter = REJECT_AFTER_MESSAGES - 1
    before = len(receiver.frames)
    sender.send(receiver)
    assert len(receiver.frames) == before + 1
    data = len(wire.sent_by(sender, TRANSPORT))
    frame = sender.send(receiver)
    assert len(wire.sent_by(sender, TRANSPORT)) == data
    assert len(staged(sender, receiver)) == 1
    wire.mend()
    wire.run(6 * SECOND)
    assert receiver.frames[-1] == frame


def test_an_hour_of_traffic_both_ways_rekeys_every_two_minutes_and_loses_nothing() -> None:
    wire, a, b = connected()
    sent_a, sent_b = [b.frames[0]], []
    for turn in range(1800):
        wire.run(2 * SECOND)
        sent_a.append(a.send(b, turn.to_bytes(2, "big")))
        sent_b.append(b.send(a, turn.to_bytes(2, "big")))
    assert b.frames == sent_a
    assert a.frames == sent_b
    assert initiations(wire, a) == [n * 120 * SECOND for n in range(31)]
    assert initiations(wire, b) == []
    assert a.drops() == b.drops() == {}


def test_an_hour_of_traffic_to_the_initiator_alone_never_stops() -> None:
    wire, a, b = connected()
    sent = []
    for turn in range(720):
        wire.run(5 * SECOND)
        sent.append(b.send(a, turn.to_bytes(2, "big")))
    assert a.frames == sent
    assert a.drops() == b.drops() == {}

"""A flood of handshakes: cookies, the limiter, and data that goes on as if nothing were."""

from __future__ import annotations

import pytest

from tests.support.engines import SECOND, START, Node, Wire, pair, peer_config, underlay_endpoint
from tests.wireguard.insides import current, handshake_side, snapshot
from tests.wireguard.speaker import Speaker, flood
from wgvx.drops import Reason
from wgvx.wireguard.messages import CookieReply
from wgvx.wireguard.sessions import Endpoint

INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
NO_MAC2 = bytes(16)


def test_511_at_once_are_no_load_and_512_are() -> None:
    wire, a, b = pair()
    assert flood(b, 511) == 0
    assert b.drops() == {Reason.HANDSHAKE_FAILED: 511}
    assert flood(b, 512) == 512
    assert b.drops()[Reason.BAD_MAC2] == 512
    a.initiate(b)
    assert [s.kind for s in wire.sent_by(b)] == [COOKIE_REPLY]


def test_load_is_over_a_second_after_the_queue_was_last_long() -> None:
    wire, a, b = pair()
    flood(b)
    wire.now += SECOND - 1
    a.initiate(b)
    assert [s.kind for s in wire.sent_by(b)] == [COOKIE_REPLY]
    wire, a, b = pair()
    flood(b)
    wire.now += SECOND
    a.initiate(b)
    assert [s.kind for s in wire.sent_by(b)] == [RESPONSE]


def test_beyond_4096_waiting_messages_are_dropped_and_counted() -> None:
    _, _, b = pair()
    flood(b, 5000)
    drops = b.drops()
    assert drops[Reason.HANDSHAKE_RATE] == 5000 - 4096
    assert sum(drops.values()) == 5000


def test_a_cookie_reply_brings_no_instant_retry_and_the_next_timed_one_is_accepted() -> None:
    wire, a, b = pair()
    flood(b)
    frame = a.send(b)
    assert [(s.sender, s.kind) for s in wire.sent] == [(a, INITIATION), (b, COOKIE_REPLY)]
    assert len(wire.sent[1].data) == 64
    wire.run(5 * SECOND - 1)
    assert len(wire.sent) == 2, "no instant retry"
    flood(b)
    wire.run(SECOND // 2)
    second = wire.sent_by(a, INITIATION)[1]
    assert 5 * SECOND <= second.at - START <= 5 * SECOND + SECOND // 3
    assert second.data[-16:] != NO_MAC2
    assert b.frames == [frame]
    assert b.drops().keys() == {Reason.BAD_MAC2}
    assert a.drops() == {}


def test_the_initiator_under_load_asks_for_a_cookie_in_answer_to_a_response() -> None:
    wire, a, b = pair()
    flood(a)
    frame = a.send(b)
    assert [(s.sender, s.kind) for s in wire.sent] == [
        (a, INITIATION),
        (b, RESPONSE),
        (a, COOKIE_REPLY),
    ]
    assert b.drops() == {}
    wire.run(5 * SECOND - 1)
    flood(a)
    wire.run(SECOND // 2)
    assert wire.sent_by(b, RESPONSE)[1].data[-16:] != NO_MAC2
    assert b.frames == [frame]


def test_mac2_is_not_looked_at_without_load() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    speaker = Speaker(2, node)
    message = speaker.initiation(wire.unix_now())
    assert node.hear(message[:-16] + bytes([9] * 16), underlay_endpoint(2)).datagrams
    assert node.drops() == {}


def test_a_wrong_mac2_under_load_is_answered_like_none() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    flood(node)
    before = snapshot(node)
    message = Speaker(2, node).initiation(wire.unix_now())
    answer = node.hear(message[:-16] + bytes([9] * 16), underlay_endpoint(2)).datagrams
    assert [d.data[0] for d in answer] == [COOKIE_REPLY]
    assert answer[0].data[4:8] == message[4:8]
    assert node.drops()[Reason.BAD_MAC2] == 513
    assert snapshot(node) == before


def cookie_for(node: Node, speaker: Speaker, source: Endpoint) -> None:
    """Get the speaker a cookie from a node under load, as seen from ``source``."""
    message = speaker.initiation(node.wire.unix_now(), now=node.wire.now)
    [answer] = node.hear(message, source).datagrams
    speaker.cookie.consume(CookieReply.parse(answer.data), node.wire.now)


@pytest.mark.parametrize(
    ("source", "accepted"),
    [
        (underlay_endpoint(2), True),
        (underlay_endpoint(2, port=51821), False),
        (underlay_endpoint(3), False),
    ],
    ids=["same", "other port", "other address"],
)
def test_a_cookie_is_good_for_its_address_and_port_only(source: Endpoint, accepted: bool) -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    speaker = Speaker(2, node)
    flood(node)
    cookie_for(node, speaker, underlay_endpoint(2))
    message = speaker.initiation(wire.unix_now() + SECOND, now=wire.now)
    [answer] = node.hear(message, source).datagrams
    assert answer.data[0] == (RESPONSE if accepted else COOKIE_REPLY)


def test_a_secret_of_120_seconds_is_replaced() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    speaker = Speaker(2, node)
    flood(node, 600)
    wire.now += 30 * SECOND
    flood(node, 600)
    cookie_for(node, speaker, underlay_endpoint(2))
    asked = wire.now
    wire.now = START + 120 * SECOND - 1
    flood(node)
    message = speaker.initiation(wire.unix_now(), now=asked)
    assert node.hear(message, underlay_endpoint(2)).datagrams[0].data[0] == RESPONSE
    wire.now = START + 120 * SECOND
    flood(node)
    message = speaker.initiation(wire.unix_now() + SECOND, now=asked)
    assert message[-16:] != NO_MAC2
    assert node.hear(message, underlay_endpoint(2)).datagrams[0].data[0] == COOKIE_REPLY


def test_an_initiator_forgets_a_cookie_after_115_seconds() -> None:
    wire, a, b = pair()
    flood(b)
    a.send(b)
    wire.loses = lambda sent: sent.sender is b
    wire.run(130 * SECOND)
    a.send(b)
    wire.run(20 * SECOND)
    with_mac2 = [s.at - START for s in wire.sent_by(a, INITIATION) if s.data[-16:] != NO_MAC2]
    without = [s.at - START for s in wire.sent_by(a, INITIATION) if s.data[-16:] == NO_MAC2]
    assert without[0] == 0
    assert 5 * SECOND <= min(with_mac2) <= max(with_mac2) < 115 * SECOND
    assert len(with_mac2) == 19
    assert all(at >= 115 * SECOND for at in without[1:])
    assert len(without) > 1


# --- the limiter --------------------------------------------------------------------------------


def test_one_address_with_a_cookie_gets_a_burst_of_5_and_another_is_served() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2), peer_config(3)])
    one, other = Speaker(2, node), Speaker(3, node)
    flood(node)
    for speaker, number in ((one, 2), (other, 3)):
        cookie_for(node, speaker, underlay_endpoint(number))
    answers = []
    for _ in range(10):
        wire.unix_offset += SECOND
        message = one.initiation(wire.unix_now(), now=wire.now)
        answers.append(len(node.hear(message, underlay_endpoint(2)).datagrams))
    # The first is accepted; four more pass the limiter and meet the 20 milliseconds.
    assert answers == [1] + [0] * 9
    assert node.drops()[Reason.HANDSHAKE_RATE] == 9
    before = node.drops()
    message = one.initiation(wire.unix_now() - 100 * SECOND, now=wire.now)
    node.hear(message, underlay_endpoint(2))
    assert node.drops()[Reason.HANDSHAKE_RATE] == 10, "an old stamp is not even looked at"
    assert Reason.HANDSHAKE_REPLAY not in before
    message = other.initiation(wire.unix_now(), now=wire.now)
    assert node.hear(message, underlay_endpoint(3)).datagrams[0].data[0] == RESPONSE
    wire.now += SECOND // 20
    message = one.initiation(wire.unix_now() + SECOND, now=wire.now)
    assert node.hear(message, underlay_endpoint(2)).datagrams[0].data[0] == RESPONSE


def test_without_load_the_limiter_is_not_asked() -> None:
    wire = Wire()
    node = wire.add(1, [peer_config(2)])
    speaker = Speaker(2, node)
    answers = 0
    for _ in range(40):
        wire.now += SECOND // 50
        message = speaker.initiation(wire.unix_now() + wire.now * 100, now=wire.now)
        answers += len(node.hear(message, underlay_endpoint(2)).datagrams)
    assert answers == 40


# --- forged cookie replies ----------------------------------------------------------------------


def test_a_forged_cookie_reply_changes_nothing() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    index = wire.sent[0].data[4:8]
    before = snapshot(a)
    for body in (bytes(56), bytes([7] * 56)):
        assert a.hear(b"\3\0\0\0" + index + body, b.endpoint).datagrams == []
    assert a.hear(b"\3\0\0\0" + bytes([1, 2, 3, 4]) + bytes(56), b.endpoint).datagrams == []
    assert a.drops() == {Reason.HANDSHAKE_FAILED: 2, Reason.UNKNOWN_INDEX: 1}
    assert snapshot(a) == before


def test_a_replayed_cookie_reply_changes_nothing() -> None:
    wire, a, b = pair()
    flood(b)
    a.send(b)
    reply = wire.sent_by(b, COOKIE_REPLY)[0].data
    wire.now += SECOND
    before = snapshot(a)
    a.hear(reply, b.endpoint)
    assert a.drops() == {Reason.HANDSHAKE_FAILED: 1}
    assert snapshot(a) == before


def test_a_cookie_reply_to_a_response_finds_its_peer_by_the_session() -> None:
    wire, a, b = pair()
    flood(a)
    a.send(b)
    assert wire.sent_by(a, COOKIE_REPLY)
    assert handshake_side(b, a).cookie._cookie is not None
    assert b.drops() == {}


def test_data_flows_while_handshakes_flood() -> None:
    wire, a, b = pair()
    frames = [a.send(b)]
    for turn in range(20):
        flood(b, 600)
        frames.append(a.send(b, bytes([turn])))
        wire.run(SECOND // 10)
    assert b.frames == frames
    assert current(b, a) is not None
    assert a.drops() == {}

"""Both sides start a handshake at once."""

from __future__ import annotations

import itertools

import pytest

from tests.support.engines import (
    SECOND,
    Node,
    Wire,
    pair,
    underlay_endpoint,
)
from tests.wireguard.insides import current, handshake_side, packet_side
from wgvx.drops import Reason

INITIATION, TRANSPORT = 1, 4


def both_know() -> tuple[Wire, Node, Node]:
    wire, a, b = pair()
    b.knows(a)
    return wire, a, b


@pytest.mark.parametrize("order", list(itertools.permutations(range(4), 4)))
def test_simultaneous_initiations_converge(order: tuple[int, ...]) -> None:
    """Both initiations are on the way at once; then the answers, in any order."""
    wire, a, b = both_know()
    wire.cut()
    frames = a.send(b, b"from a"), b.send(a, b"from b")
    held = [(b, a, wire.sent[0].data), (a, b, wire.sent[1].data)]
    rounds = 0
    while held:
        # Each round delivers what is on the way, in the order given, and collects the answers.
        ranked = sorted(range(len(held)), key=lambda i: order[i % 4])
        answers = []
        for i in ranked:
            receiver, sender, data = held[i]
            burst = receiver.hear(data, sender.endpoint)
            receiver.frames += [frame for _, frame in burst.frames]
            answers += [(sender, receiver, d.data) for d in burst.datagrams]
        held = answers
        rounds += 1
        assert rounds < 8
    assert b.frames == [frames[0]]
    assert a.frames == [frames[1]]
    assert a.drops() == b.drops() == {}

    wire.mend()
    wire.sent.clear()
    for turn in range(110):
        wire.run(SECOND)
        a.send(b, bytes([turn]))
        b.send(a, bytes([turn]))
    assert len(a.frames) == len(b.frames) == 111
    assert {s.kind for s in wire.sent} == {TRANSPORT}, "no handshake more until one is due"
    assert a.drops() == b.drops() == {}


def test_handshakes_that_cross_and_are_lost_end_in_one() -> None:
    wire, a, b = both_know()
    wire.cut()
    a.send(b, b"from a")
    b.send(a, b"from b")
    wire.run(31 * SECOND)
    wire.mend()
    wire.run(12 * SECOND)
    assert len(a.frames) == len(b.frames) == 1
    wire.sent.clear()
    wire.run(60 * SECOND)
    assert INITIATION not in {s.kind for s in wire.sent}
    for node, other in ((a, b), (b, a)):
        assert handshake_side(node, other).latest_handshake > 0


def test_a_response_held_back_replaces_nothing_later() -> None:
    """Both initiate, one handshake is confirmed: the other's response comes too late, for good."""
    wire, a, b = both_know()
    wire.cut()
    a.send(b)
    b.send(a)
    ours, theirs = wire.sent[0].data, wire.sent[1].data
    held_back = a.hear(theirs, b.endpoint).datagrams[0].data
    response = b.hear(ours, a.endpoint).datagrams[0].data
    for datagram in a.hear(response, b.endpoint).datagrams:
        b.hear(datagram.data, a.endpoint)
    wire.mend()
    before = current(b, a)
    b.hear(held_back, underlay_endpoint(66))
    assert b.drops() == {Reason.UNKNOWN_INDEX: 1}
    assert current(b, a) is before
    assert packet_side(b, a).endpoint == a.endpoint

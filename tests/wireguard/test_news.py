"""What people are told of a peer, and where a silent one is looked for."""

from __future__ import annotations

from tests.support.engines import SECOND, connected, pair, underlay_endpoint
from tests.wireguard.insides import handshake_side, packet_side
from wgvx.wireguard.sessions import News


def test_a_silent_peer_is_told_of_once_and_again_when_it_answers() -> None:
    wire, a, b = pair()
    wire.cut()
    a.send(b)
    wire.run(10 * SECOND)
    assert a.engine.take_news() == []
    for _ in range(60):
        wire.run(SECOND)
        a.send(b)
    assert a.engine.take_news() == [(a.peer(b), News.SILENT)]
    wire.mend()
    wire.run(6 * SECOND)
    assert a.engine.take_news() == [(a.peer(b), News.HEARD_AGAIN)]


def test_every_handshake_is_told_of_and_nothing_piles_up() -> None:
    wire, a, b = connected()
    assert a.engine.take_news() == [(a.peer(b), News.COMPLETED)]
    for _ in range(400):
        wire.run(SECOND)
        a.send(b)
    assert a.engine.take_news() == [(a.peer(b), News.COMPLETED)] * 3
    timers = a.engine.device._timers
    for _ in range(5000):
        timers.handshake_complete(handshake_side(a, b))
    assert len(a.engine.take_news()) == 1024


def test_deadlines_put_off_do_not_pile_up() -> None:
    wire, a, b = connected()
    timers = a.engine.device._timers
    for step in range(10_000):
        timers.session_derived(handshake_side(a, b), wire.now + step)
    assert len(timers._heap) < 20
    wire.run(541 * SECOND)
    assert packet_side(a, b).slots.current is None


def test_a_silent_peer_is_sought_where_it_is_said_to_be_and_where_it_was_heard() -> None:
    wire, a, b = connected()
    now, info = wire.now, a.peer(b)
    configured, heard = underlay_endpoint(77), packet_side(a, b).endpoint
    assert heard is not None
    seen = []
    for _ in range(4):
        a.engine.try_endpoint(info, configured, now)
        seen.append(packet_side(a, b).endpoint)
    assert seen == [configured, heard, configured, heard]


def test_the_key_of_low_order_costs_one_try_in_five_seconds() -> None:
    wire, a, b = pair()
    handshake_side(a, b).public_key = bytes(32)
    stamps = a.engine.device._timestamps
    a.send(b)
    first = stamps.last
    for _ in range(50):
        a.send(b)
    assert stamps.last == first
    assert wire.sent == []

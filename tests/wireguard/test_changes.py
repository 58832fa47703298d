"""Keys and peers that change while things run."""

from __future__ import annotations

from tests.support.engines import (
    SECOND,
    connected,
    mesh,
    pair,
    private_key,
)
from tests.wireguard.insides import current, snapshot
from wgvx.drops import Reason
from wgvx.wireguard.crypto import dh_public

INITIATION, RESPONSE = 1, 2


def test_a_peer_removed_in_mid_handshake_is_gone() -> None:
    wire, a, b = pair()
    wire.loses = lambda sent: sent.kind == RESPONSE
    a.engine.device.set_persistent_keepalive(a.peer(b).id, 3, wire.now)
    a.send(b)
    response = wire.sent_by(b, RESPONSE)[0].data
    a.engine.remove_peer(b.public_key)
    wire.mend()
    assert a.hear(response, b.endpoint).datagrams == []
    assert a.drops() == {Reason.UNKNOWN_INDEX: 1}
    count = len(wire.sent_by(a))
    wire.run(600 * SECOND)
    assert len(wire.sent_by(a)) == count


def test_a_removed_peer_is_a_stranger_also_to_its_session() -> None:
    wire, a, b = connected()
    a.engine.remove_peer(b.public_key)
    b.send(a)
    assert a.frames == []
    assert a.drops() == {Reason.UNKNOWN_INDEX: 1}
    wire.run(30 * SECOND)
    assert a.drops().keys() == {Reason.UNKNOWN_INDEX, Reason.HANDSHAKE_FAILED}
    wire.run(SECOND)


def test_a_peer_added_again_begins_anew() -> None:
    wire, a, b = connected()
    a.engine.remove_peer(b.public_key)
    info = a.engine.add_peer(b.public_key)
    a.engine.dataplane.add_allowed_ip(info.id, (bytes([10, 254, 0, 2]), 32))
    b.send(a)
    assert a.drops() == {Reason.UNKNOWN_INDEX: 1}
    wire.run(16 * SECOND)
    b.send(a)
    assert len(a.frames) == 1
    assert a.drops() == {Reason.UNKNOWN_INDEX: 1}


def test_a_changed_private_key_stops_sending_and_handshakes_at_once() -> None:
    wire, a, b = connected()
    fresh = private_key(77)
    b.engine.remove_peer(a.public_key)
    info = b.engine.add_peer(dh_public(fresh))
    b.engine.dataplane.add_allowed_ip(info.id, (bytes([10, 254, 0, 1]), 32))
    b.engine.follow_peers()
    a.engine.set_private_key(fresh, wire.now)
    a.public_key = dh_public(fresh)
    assert not current(a, b).can_send(wire.now)
    a.send(b)  # Within REKEY_TIMEOUT of the last handshake, and yet:
    assert len(b.frames) == 2
    assert a.drops() == b.drops() == {}
    assert b.engine.device.latest_handshake(info.id) == wire.unix_now()


def test_a_changed_private_key_is_shown_at_once_to_a_peer_that_is_kept_alive() -> None:
    wire, a, b = pair(keepalive=25)
    wire.sent.clear()
    a.engine.set_private_key(private_key(77), wire.now)
    wire.carry(a, a.engine.transmit(a.port, [], wire.now))
    assert [s.kind for s in wire.sent_by(a)] == [INITIATION]
    assert b.drops() == {Reason.HANDSHAKE_FAILED: 1}


def test_an_old_session_still_receives_after_a_change_of_private_key() -> None:
    wire, a, b = connected()
    a.engine.set_private_key(private_key(77), wire.now)
    b.send(a)
    assert len(a.frames) == 1


def test_setting_the_same_private_key_changes_nothing() -> None:
    wire, a, b = connected()
    before = snapshot(a)
    a.engine.set_private_key(private_key(1), wire.now)
    assert snapshot(a) == before
    count = len(wire.sent)
    a.send(b)
    assert len(wire.sent) == count + 1, "data, no handshake"


def test_a_peer_with_our_new_key_is_removed() -> None:
    wire, nodes = mesh(3)
    a, b, c = nodes
    a.engine.set_private_key(private_key(2), wire.now)
    assert b.public_key not in a.engine.peers
    assert c.public_key in a.engine.peers
    assert a.engine.dataplane.route(bytes([10, 254, 0, 2])) is None


def test_a_node_without_a_private_key_neither_speaks_nor_answers() -> None:
    wire, a, b = connected()
    b.engine.set_private_key(None, wire.now)
    assert b.send(a)
    assert a.frames == []
    wire.run(6 * SECOND)
    a.initiate(b)
    assert b.drops() == {Reason.BAD_MAC1: 1}
    assert [s.kind for s in wire.sent_by(b)] == [RESPONSE]

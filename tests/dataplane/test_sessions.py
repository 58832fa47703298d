"""What the data plane keeps of a peer: key slots, windows, stamps, endpoint, and what it asks."""

from __future__ import annotations

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.rig import PORT, SECOND, US, VNI, Rig, carrying, frame_to, mac, tunnel
from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from wgvx.wireguard.sessions import Endpoint, Event, Stamps

FRAME = frame_to(US)
DATA = carrying(FRAME)
OUT = frame_to(2, US)
NOTHING = Event(0)


@pytest.fixture
def aware(rig: Rig) -> Rig:
    """A rig that knows where the peer's station is."""
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    return rig


# --- the three slots ------------------------------------------------------------------------------


def receives_under(rig: Rig, session: int) -> bool:
    burst = rig.dataplane.receive([rig.peer.seal(DATA, session=session)], rig.now)
    return bool(burst.frames)


def sends_under(rig: Rig) -> int:
    """The session that the next frame leaves under."""
    (datagram,) = rig.transmit(OUT).datagrams
    index = int.from_bytes(datagram.data[4:8], "little")
    return [session.local_index for session in rig.peer.sessions].index(index)


def test_an_initiators_session_is_current_at_once(aware: Rig) -> None:
    aware.connect(aware.peer)
    assert sends_under(aware) == 1
    assert receives_under(aware, 0)  # previous
    aware.connect(aware.peer)
    assert sends_under(aware) == 2
    assert [receives_under(aware, i) for i in range(3)] == [False, True, True]
    assert aware.drops() == {Reason.UNKNOWN_INDEX: 1}


def test_a_responders_session_is_next_until_a_packet_under_it(aware: Rig) -> None:
    aware.connect(aware.peer, initiator=False)
    assert sends_under(aware) == 0
    assert receives_under(aware, 0)
    assert sends_under(aware) == 0
    assert receives_under(aware, 1)
    assert sends_under(aware) == 1
    assert receives_under(aware, 0)  # previous
    aware.connect(aware.peer)
    assert [receives_under(aware, i) for i in range(3)] == [False, True, True]


def test_a_later_next_replaces_one_that_was_never_used(aware: Rig) -> None:
    aware.connect(aware.peer, initiator=False)
    aware.connect(aware.peer, initiator=False)
    assert [receives_under(aware, i) for i in range(3)] == [True, False, True]
    assert sends_under(aware) == 2


def test_both_ends_began_at_once(aware: Rig) -> None:
    """The unconfirmed next outlives current: the peer may be about to use it."""
    aware.connect(aware.peer, initiator=False)
    aware.connect(aware.peer, initiator=True)
    assert sends_under(aware) == 2
    assert [receives_under(aware, i) for i in range(3)] == [False, True, True]
    assert sends_under(aware) == 2


def test_confirmed_is_told_once(rig: Rig) -> None:
    rig.connect(rig.peer, initiator=False)
    assert rig.receive(b"").events.get(2, NOTHING) & Event.CONFIRMED
    assert not rig.receive(b"").events.get(2, NOTHING) & Event.CONFIRMED


def test_a_forgery_does_not_confirm(rig: Rig) -> None:
    rig.connect(rig.peer, initiator=False)
    data = rig.peer.seal(b"").data
    rig.dataplane.receive([Datagram(data[:-1] + b"\0", rig.peer.endpoint)], rig.now)
    assert rig.drops() == {Reason.AUTH_FAILED: 1}
    assert rig.receive(b"").events[2] & Event.CONFIRMED


def test_forgotten_keys_open_and_send_nothing(aware: Rig) -> None:
    aware.connect(aware.peer)
    aware.connect(aware.peer, initiator=False)
    aware.dataplane.forget_keys(2)
    assert not any(receives_under(aware, i) for i in range(3))
    assert aware.transmit(OUT).datagrams == []
    assert aware.drops() == {Reason.UNKNOWN_INDEX: 3}


def test_expired_sending_keys_still_receive(aware: Rig) -> None:
    """Our private key changed."""
    aware.dataplane.expire_sending_keys()
    burst = aware.transmit(OUT)
    assert burst.datagrams == []
    assert burst.events[2] & Event.NEED_HANDSHAKE
    assert receives_under(aware, 0)


def test_indices_lead_to_their_peer(rig3: Rig) -> None:
    for number, peer in rig3.peers.items():
        assert rig3.dataplane.index_peer(peer.sessions[0].remote_index) == number
    assert rig3.dataplane.index_peer(12345) is None
    rig3.dataplane.remove_peer(3)
    assert rig3.dataplane.index_peer(rig3.peers[3].sessions[0].remote_index) is None


def test_a_removed_peer_is_gone_with_all_it_had(rig3: Rig) -> None:
    rig3.dataplane.fdb_add(VNI, mac(3), tunnel(3))
    rig3.dataplane.remove_peer(3)
    assert rig3.receive(carrying(FRAME, source=3), peer=3).frames == []
    assert rig3.transmit(frame_to(3, US)).datagrams == []
    assert rig3.dataplane.route(tunnel(3)) is None
    assert rig3.drops() == {Reason.UNKNOWN_INDEX: 1, Reason.NO_ROUTE: 1}


# --- when a new handshake is asked for ------------------------------------------------------------


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize(
    ("age", "initiator_asks", "leaves"),
    [(119, False, True), (120, True, True), (179, True, True), (180, True, False)],
)
def test_on_sending(
    dataplane_class: DataPlaneClass, initiator: bool, age: int, initiator_asks: bool, leaves: bool
) -> None:
    rig = Rig(dataplane_class, sessions=False)
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    rig.connect(rig.peer, initiator=initiator)
    rig.receive(b"")
    rig.now += age * SECOND
    burst = rig.transmit(OUT)
    asked = bool(burst.events.get(2, NOTHING) & Event.NEED_HANDSHAKE)
    assert bool(burst.datagrams) is leaves
    # "the responder never on age alone", but without a key to send under it must.
    assert asked is (initiator_asks if initiator else not leaves)


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize(("age", "asks"), [(164, False), (165, True)])
@pytest.mark.parametrize("plaintext", [b"", DATA])
def test_on_receiving(
    dataplane_class: DataPlaneClass, initiator: bool, age: int, asks: bool, plaintext: bytes
) -> None:
    rig = Rig(dataplane_class, sessions=False)
    rig.connect(rig.peer, initiator=initiator)
    rig.receive(b"")
    rig.now += age * SECOND
    first, second = (rig.receive(plaintext).events.get(2, NOTHING) for _ in range(2))
    assert bool(first & Event.NEED_HANDSHAKE) is (asks and initiator)
    assert not second & Event.NEED_HANDSHAKE  # once is enough


def test_counters_have_an_end(rig: Rig) -> None:
    """The counter is the nonce: the window takes the last one, and none beyond."""
    rig.peer.sessions[0].send_counter = REJECT_AFTER_MESSAGES - 1
    assert rig.receive(DATA).frames == [(PORT, FRAME)]
    assert rig.receive(DATA).frames == []
    assert rig.drops() == {Reason.KEY_EXPIRED: 1}
    assert REKEY_AFTER_MESSAGES < REJECT_AFTER_MESSAGES


# --- the replay window ----------------------------------------------------------------------------


def accepted(rig: Rig, *counters: int) -> list[int]:
    """Which of these counters, in this order, were accepted."""
    taken = []
    for counter in counters:
        rig.peer.sessions[0].send_counter = counter
        if rig.receive(DATA).frames:
            taken.append(counter)
    return taken


def test_every_counter_once_in_any_order(rig: Rig) -> None:
    assert accepted(rig, 5, 3, 4, 3, 0, 5, 9000, 873, 872, 871, 9000, 2) == [
        *(5, 3, 4, 0, 9000, 873, 872)
    ]


def test_a_far_jump_forgets_what_was_before(rig: Rig) -> None:
    far = 1 << 40
    assert accepted(rig, 0, far, 0, far - 8129, far - 8128, far - 1, far - 1) == [
        *(0, far, far - 8128, far - 1)
    ]


def test_the_very_edge_of_the_window_is_remembered(rig: Rig) -> None:
    assert accepted(rig, 872, 873, 9000, 872, 873, 9001, 873, 872) == [872, 873, 9000, 9001]


def test_a_session_has_a_window_of_its_own(rig: Rig) -> None:
    rig.receive(DATA)
    rig.connect(rig.peer)
    assert receives_under(rig, 1)  # counter 0 again


def test_a_forgery_does_not_use_up_its_counter(rig: Rig) -> None:
    good = rig.peer.seal(DATA)
    forged = good._replace(data=good.data[:-1] + bytes([good.data[-1] ^ 1]))
    burst = rig.dataplane.receive([forged, good, good], rig.now)
    assert burst.frames == [(PORT, FRAME)]
    assert rig.drops() == {Reason.AUTH_FAILED: 1, Reason.REPLAYED: 1}


# --- stamps and the timers they arm ---------------------------------------------------------------


def test_stamps_of_data_and_of_keepalives(aware: Rig) -> None:
    begin = aware.now
    plane = aware.dataplane
    assert plane.stamps(2) == Stamps(0, 0, 0, 0, False)

    burst = aware.transmit(OUT)
    assert burst.events == {2: Event.ARM_TX}
    assert plane.stamps(2) == Stamps(begin, 0, begin, 0, False)

    aware.now += SECOND
    assert aware.transmit(OUT).events == {}  # armed already, and the first one counts
    assert plane.stamps(2) == Stamps(aware.now, 0, begin, 0, False)

    aware.now += SECOND
    assert aware.receive(b"").events == {}  # a keepalive answers, and asks for nothing
    assert plane.stamps(2) == Stamps(aware.now - SECOND, aware.now, 0, 0, False)

    aware.now += SECOND
    received = aware.now
    assert aware.receive(DATA).events == {2: Event.ARM_RX}
    aware.now += SECOND
    assert aware.receive(DATA).events == {}
    assert plane.stamps(2) == Stamps(received - 2 * SECOND, aware.now, 0, received, True)

    aware.now += SECOND
    assert aware.transmit(OUT).events == {}  # still armed: the timer was not let go
    assert plane.stamps(2) == Stamps(aware.now, aware.now - SECOND, aware.now, 0, False)


@pytest.mark.parametrize("event", [Event.ARM_TX, Event.ARM_RX])
def test_let_go_the_stamp_is_0_and_arms_again(aware: Rig, event: Event) -> None:
    aware.transmit(OUT)
    aware.receive(DATA)
    aware.receive(DATA)
    aware.dataplane.disarm(2, event)
    aware.now += SECOND
    cleared = aware.dataplane.stamps(2)
    if event is Event.ARM_TX:
        assert cleared.first_unanswered_tx == 0
        assert cleared.first_unanswered_rx != 0
    else:
        assert (cleared.first_unanswered_rx, cleared.more_unanswered_rx) == (0, False)
    burst = aware.transmit(OUT) if event is Event.ARM_TX else aware.receive(DATA)
    assert burst.events == {2: event}
    stamps = aware.dataplane.stamps(2)
    first = stamps.first_unanswered_tx or stamps.first_unanswered_rx
    assert first == aware.now


def test_data_that_is_refused_inside_was_heard_all_the_same(rig: Rig) -> None:
    burst = rig.receive(carrying(FRAME, source=99))
    assert rig.drops() == {Reason.SOURCE_NOT_ALLOWED: 1}
    assert burst.events == {2: Event.ARM_RX}
    assert rig.dataplane.stamps(2).last_rx == rig.now


def test_a_keepalive_where_nothing_waits(aware: Rig) -> None:
    aware.receive(DATA)
    assert aware.dataplane.send_staged(2, aware.now, or_keepalive=True)
    burst = aware.dataplane.take()
    assert [len(d.data) for d in burst.datagrams] == [32]
    assert aware.opened(burst) == [(2, b"")]
    stamps = aware.dataplane.stamps(2)
    assert stamps.first_unanswered_tx == 0  # no answer is due to it
    assert stamps.first_unanswered_rx == 0
    assert stamps.last_tx == aware.now


# --- bytes and places -----------------------------------------------------------------------------


def test_bytes_are_whole_udp_payloads(aware: Rig) -> None:
    sent = sum(len(d.data) for _ in range(3) for d in aware.transmit(OUT).datagrams)
    received = aware.peer.seal(DATA)
    aware.dataplane.receive([received, received], aware.now)  # a replay is not counted
    aware.dataplane.send_handshake(2, bytes(148), aware.now)
    aware.dataplane.received_handshake(2, aware.peer.endpoint, 92, aware.now)
    assert aware.dataplane.peer_counters(2) == (len(received.data) + 92, sent + 148)
    assert aware.dataplane.take().datagrams == [Datagram(bytes(148), aware.peer.endpoint, 0x88)]


MOVED = [
    {"ip": b"\xcb\0\x71\7"},
    {"port": 1},
    {"ip": bytes(15) + b"\1"},
    {"ip": b"\xfe\x80" + bytes(14), "scope": 3},
]


@pytest.mark.parametrize("change", MOVED)
@pytest.mark.parametrize("plaintext", [b"", DATA, carrying(FRAME, source=99), b"\0"])
def test_any_packet_that_authenticates_moves_the_peer(
    aware: Rig, change: dict[str, object], plaintext: bytes
) -> None:
    place = aware.peer.endpoint._replace(**change)  # type: ignore[arg-type] # any of its fields
    datagram = aware.peer.seal(plaintext)._replace(endpoint=place)
    burst = aware.dataplane.receive([datagram], aware.now)
    assert burst.events[2] & Event.ROAMED
    assert aware.dataplane.endpoint(2) == place
    assert [d.endpoint for d in aware.transmit(OUT).datagrams] == [place]
    again = aware.peer.seal(plaintext)._replace(endpoint=place)
    burst = aware.dataplane.receive([again], aware.now)
    assert not burst.events.get(2, NOTHING) & Event.ROAMED


def test_another_address_of_ours_is_no_move(rig: Rig) -> None:
    """It is answered from there, and nobody needs to be told."""
    place = rig.peer.endpoint._replace(local=b"\xc6\x12\0\1")
    burst = rig.dataplane.receive([rig.peer.seal(b"")._replace(endpoint=place)], rig.now)
    assert burst.events == {}
    assert rig.dataplane.endpoint(2) == place
    rig.dataplane.forget_local_address(2)
    assert rig.dataplane.endpoint(2) == rig.peer.endpoint


def test_an_address_of_ours_that_was_given_up_is_not_learned_again(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    here = b"\xc6\x12\0\1"

    def heard(interface: int) -> Endpoint | None:
        place = rig.peer.endpoint._replace(local=here, interface=interface)
        rig.dataplane.receive([rig.peer.seal(b"")._replace(endpoint=place)], rig.now)
        return rig.dataplane.endpoint(2)

    nowhere = rig.peer.endpoint
    first = heard(1)
    assert first is not None
    assert first == nowhere._replace(local=here, interface=1)
    assert heard(2) == first, "the interface goes with the address"
    rig.dataplane.give_up_local_address(2, first._replace(local=b"\xc6\x12\0\2"))
    assert rig.dataplane.endpoint(2) == first, "it was heard elsewhere meanwhile"
    rig.dataplane.give_up_local_address(2, first)
    assert rig.dataplane.endpoint(2) == nowhere
    assert heard(1) == heard(2) == nowhere
    assert [d.endpoint for d in rig.transmit(OUT).datagrams] == [nowhere]
    assert heard(1) == nowhere
    assert heard(2) == first._replace(interface=2), (
        "that peer has heard from us, and calls it still"
    )
    rig.dataplane.forget_local_address(2)
    rig.dataplane.allow_local_address(2)
    assert heard(1) == first


def test_one_burst_of_several_peers(rig3: Rig) -> None:
    sealed = [
        peer.seal(carrying(frame_to(US, number), source=number))
        for number, peer in rig3.peers.items()
        for _ in range(2)
    ]
    burst = rig3.dataplane.receive(sealed, rig3.now)
    assert burst.frames == [(PORT, frame_to(US, n)) for n in (2, 2, 3, 3, 4, 4)]
    assert burst.events == dict.fromkeys((2, 3, 4), Event.ARM_RX)

"""Bridge domains: what they learn, whom they hear, and that two of them share nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.rig import (
    PORT,
    SECOND,
    US,
    VNI,
    Rig,
    carrying,
    datagram_of,
    frame_to,
    mac,
    packet,
    tunnel,
    vxlan_header,
)
from tests.vxlan.packets import BROADCAST
from wgvx.dataplane.interface import Network
from wgvx.drops import Reason
from wgvx.vxlan.fdb import Remote, State

BLUE, RED = 100, 200
BLUE_PORT, RED_PORT = PORT, PORT + 1


@pytest.fixture
def both(dataplane_class: DataPlaneClass) -> Rig:
    """Two networks on one UDP port; peers 2 and 3."""
    return Rig(dataplane_class, peers=2, networks=[Network(BLUE), Network(RED)])


def learned(rig: Rig, vni: int = VNI) -> dict[bytes, Remote]:
    """The stations learned behind VTEPs."""
    return {
        row.mac: row.where
        for row in rig.dataplane.fdb_rows(vni, rig.now)
        if row.state is State.DYNAMIC and isinstance(row.where, Remote)
    }


def opened_vnis(rig: Rig, *frames: bytes, port: int) -> list[tuple[int, int]]:
    """(peer, VNI) of each copy of frames that entered on a port."""
    return [
        (peer, int.from_bytes(plaintext[32:35], "big"))
        for peer, plaintext in rig.opened(rig.transmit(*frames, port=port))
    ]


# --- several networks share nothing ---------------------------------------------------------------


def test_frames_stay_in_their_network(both: Rig) -> None:
    frame = frame_to(BROADCAST)
    assert both.receive(carrying(frame, vni=BLUE)).frames == [(BLUE_PORT, frame)]
    assert both.receive(carrying(frame, vni=RED)).frames == [(RED_PORT, frame)]


def test_one_mac_in_two_networks_at_two_places(both: Rig) -> None:
    both.receive(carrying(frame_to(US, 9), vni=BLUE))
    both.receive(carrying(frame_to(US, 9), source=3, vni=RED), peer=3)
    assert learned(both, BLUE) == {mac(9): Remote(tunnel(2))}
    assert learned(both, RED) == {mac(9): Remote(tunnel(3))}
    assert opened_vnis(both, frame_to(9, US), port=BLUE_PORT) == [(2, BLUE)]
    assert opened_vnis(both, frame_to(9, US), port=RED_PORT) == [(3, RED)]


def test_flood_lists_and_static_entries_are_a_networks_own(both: Rig) -> None:
    both.dataplane.fdb_add(BLUE, bytes(6), tunnel(2))
    both.dataplane.fdb_add(BLUE, mac(9), tunnel(3))
    assert opened_vnis(both, frame_to(BROADCAST, US), port=BLUE_PORT) == [(2, BLUE)]
    assert opened_vnis(both, frame_to(BROADCAST, US), port=RED_PORT) == []
    assert opened_vnis(both, frame_to(9, US), port=RED_PORT) == []
    assert both.drops() == {Reason.NO_REMOTE: 2}
    both.receive(carrying(frame_to(US, 9), vni=RED))
    assert learned(both, RED) == {mac(9): Remote(tunnel(2))}


def test_counters_and_flush_are_a_networks_own(both: Rig) -> None:
    for vni in (BLUE, RED):
        both.receive(carrying(frame_to(US, 9), vni=vni))
    both.transmit(frame_to(9, US), port=RED_PORT)
    assert both.dataplane.network_counters(BLUE)[:2] == (1, 0)
    assert both.dataplane.network_counters(RED)[:2] == (1, 1)
    assert both.dataplane.fdb_flush(BLUE) == 1
    assert learned(both, BLUE) == {}
    assert learned(both, RED) != {}


def test_settings_that_change_leave_what_was_learned(both: Rig) -> None:
    def hear(number: int, peer: int = 2) -> None:
        both.receive(carrying(frame_to(US, number), source=peer, vni=BLUE), peer=peer)

    hear(9)
    both.dataplane.set_network(Network(BLUE, accept=((tunnel(3), 32),), max_entries=2))
    assert learned(both, BLUE) == {mac(9): Remote(tunnel(2))}
    hear(9)
    hear(8, peer=3)
    hear(7, peer=3)  # There is no room for it.
    assert set(learned(both, BLUE)) == {mac(9), mac(8)}
    assert both.drops() == {Reason.VTEP_NOT_ACCEPTED: 1}
    both.dataplane.set_network(Network(BLUE, learning=False, ageing=5 * SECOND, accept=()))
    hear(8, peer=3)
    assert both.drops() == {Reason.VTEP_NOT_ACCEPTED: 2}
    both.dataplane.set_network(Network(BLUE, learning=False, ageing=5 * SECOND))
    hear(7)
    assert set(learned(both, BLUE)) == {mac(9), mac(8)}
    both.now += 5 * SECOND
    assert learned(both, BLUE) == {}
    hear(6, peer=3)
    assert both.drops() == {Reason.VTEP_NOT_ACCEPTED: 2}


def test_a_vni_is_heard_on_its_own_udp_port_alone(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class, networks=[Network(BLUE), Network(RED, udp_port=8472)])
    frame = frame_to(US)
    assert rig.receive(carrying(frame, vni=RED, port=8472)).frames == [(RED_PORT, frame)]
    assert rig.receive(carrying(frame, vni=RED, port=4789)).frames == []
    assert rig.receive(carrying(frame, vni=BLUE, port=8472)).frames == []
    assert rig.drops() == {Reason.UNKNOWN_VNI: 2}


@pytest.mark.parametrize("vni", [0, 1, (1 << 24) - 1])
def test_every_vni_from_0_to_the_last(dataplane_class: DataPlaneClass, vni: int) -> None:
    rig = Rig(dataplane_class, networks=[Network(vni)])
    frame = frame_to(US)
    assert rig.receive(carrying(frame, vni=vni)).frames == [(PORT, frame)]
    rig.dataplane.fdb_add(vni, mac(2), tunnel(2))
    ((_, plaintext),) = rig.opened(rig.transmit(frame_to(2, US)))
    assert plaintext[28:36] == vxlan_header(vni)


# --- learning -------------------------------------------------------------------------------------

NOTHING_LEARNED = {
    "spoofed inner source": packet(datagram_of(frame_to(US, 9), source=3), source=3),
    "not for us": carrying(frame_to(US, 9), destination=99),
    "wrong VNI": carrying(frame_to(US, 9), vni=VNI + 1),
    "wrong port": carrying(frame_to(US, 9), port=1),
    "reserved bit": carrying(frame_to(US, 9), header=vxlan_header(reserved=1)),
    "bad UDP checksum": packet(datagram_of(frame_to(US, 9))[:-1] + b"\xff"),
    "reserved group": carrying(frame_to(bytes.fromhex("0180c2000002"), 9)),
    "short frame": carrying(frame_to(US, 9)[:13]),
    "group source": carrying(frame_to(US, b"\1\0\0\0\0\1")),
    "our own MAC": carrying(frame_to(5, US)),
}


@pytest.mark.parametrize("plaintext", NOTHING_LEARNED.values(), ids=NOTHING_LEARNED.keys())
def test_a_refused_packet_teaches_nothing(rig3: Rig, plaintext: bytes) -> None:
    before = rig3.dataplane.fdb_rows(VNI, rig3.now)
    assert rig3.receive(plaintext).frames == []
    assert rig3.dataplane.fdb_rows(VNI, rig3.now) == before
    assert sum(rig3.drops().values()) == 1


def test_a_spoofed_source_does_not_take_a_station_away(rig3: Rig) -> None:
    rig3.receive(carrying(frame_to(US, 9), source=3), peer=3)
    rig3.receive(carrying(frame_to(US, 9), source=3), peer=2)
    assert rig3.drops() == {Reason.SOURCE_NOT_ALLOWED: 1}
    assert learned(rig3) == {mac(9): Remote(tunnel(3))}


def test_a_station_moves_at_once(rig3: Rig) -> None:
    for number in (2, 3, 2, 4):
        rig3.receive(carrying(frame_to(US, 9), source=number), peer=number)
        assert learned(rig3) == {mac(9): Remote(tunnel(number))}
        copies = rig3.opened(rig3.transmit(frame_to(9, US)))
        assert [peer for peer, _ in copies] == [number]
    rig3.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    rig3.transmit(frame_to(BROADCAST, 9))  # it came home
    assert learned(rig3) == {}


def test_what_is_learned_ages(rig: Rig) -> None:
    rig.receive(carrying(frame_to(US, 9)))
    rig.now += 150 * SECOND
    rig.connect(rig.peer)
    rig.transmit(frame_to(9, US))  # sending to it refreshes nothing
    rig.now += 150 * SECOND
    assert learned(rig) == {}
    rig.transmit(frame_to(9, US))
    assert rig.drops() == {Reason.NO_REMOTE: 1}


def test_a_station_that_speaks_does_not_age(rig: Rig) -> None:
    for _ in range(4):
        rig.receive(carrying(frame_to(US, 9)))
        rig.now += 150 * SECOND
        rig.connect(rig.peer)
    assert learned(rig) == {mac(9): Remote(tunnel(2))}


def test_the_cap_stops_learning_and_not_traffic(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class, networks=[Network(VNI, max_entries=3)])
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    for number in range(10, 20):
        frame = frame_to(US, number)
        assert rig.receive(carrying(frame)).frames == [(PORT, frame)]
    assert set(learned(rig)) == {mac(10), mac(11), mac(12)}
    assert len(rig.transmit(frame_to(19, US)).datagrams) == 1
    assert rig.drops() == {}


def test_without_learning_nothing_is_learned_and_group_sources_pass(
    dataplane_class: DataPlaneClass,
) -> None:
    rig = Rig(dataplane_class, networks=[Network(VNI, learning=False)])
    for source in (mac(9), b"\1\0\0\0\0\1", bytes(6)):
        frame = frame_to(US, source)
        assert rig.receive(carrying(frame)).frames == [(PORT, frame)]
    assert learned(rig) == {}
    rig.receive(carrying(frame_to(5, US)))
    assert rig.drops() == {Reason.OWN_MAC: 1}


# --- accept ---------------------------------------------------------------------------------------


def test_accept_bounds_who_is_heard_on_one_network(dataplane_class: DataPlaneClass) -> None:
    inner4, inner6 = (tunnel(2), 31), (tunnel(4, 6), 128)  # 10.254.0.2 and .3; fd00:fe::4
    choosy, open_ = Network(VNI, accept=(inner4, inner6)), Network(VNI + 1)
    rig = Rig(dataplane_class, peers=3, networks=[choosy, open_])
    frame = frame_to(US, 9)
    heard = {
        (number, family): bool(
            rig.receive(carrying(frame, source=number, family=family), peer=number).frames
        )
        for number in (2, 3, 4)
        for family in (4, 6)
    }
    assert {who for who, was_heard in heard.items() if was_heard} == {(2, 4), (3, 4), (4, 6)}
    assert rig.drops() == {Reason.VTEP_NOT_ACCEPTED: 3}
    assert learned(rig) == {mac(9): Remote(tunnel(4, 6))}
    burst = rig.receive(carrying(frame, source=4, vni=VNI + 1), peer=4)
    assert burst.frames == [(PORT + 1, frame)]


@pytest.mark.parametrize(("accept", "heard"), [(None, True), ((), False)])
def test_accept_left_out_and_empty(
    dataplane_class: DataPlaneClass, accept: tuple[()] | None, heard: bool
) -> None:
    rig = Rig(dataplane_class, networks=[replace(Network(VNI), accept=accept)])
    assert bool(rig.receive(carrying(frame_to(US))).frames) is heard


# --- destinations ---------------------------------------------------------------------------------


def test_frames_for_stations_not_here_still_reach_the_port(rig: Rig) -> None:
    """A VTEP is a bridge port: what it floods, the host filters."""
    for destination in (mac(77), BROADCAST, bytes.fromhex("333300000001")):
        frame = frame_to(destination)
        assert rig.receive(carrying(frame)).frames == [(PORT, frame)]


@pytest.mark.parametrize("last", [0x00, 0x10, 0x20, 0x21])
def test_groups_that_a_bridge_forwards(rig: Rig, last: int) -> None:
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    group = bytes.fromhex("0180c20000") + bytes([last])
    assert len(rig.transmit(frame_to(group, US)).datagrams) == 1
    frame = frame_to(group)
    assert rig.receive(carrying(frame)).frames == [(PORT, frame)]


@pytest.mark.parametrize("last", range(1, 16))
def test_groups_that_a_bridge_keeps_to_itself(rig: Rig, last: int) -> None:
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    group = bytes.fromhex("0180c20000") + bytes([last])
    assert rig.transmit(frame_to(group, US)).datagrams == []
    assert rig.receive(carrying(frame_to(group))).frames == []
    assert rig.drops() == {Reason.RESERVED_GROUP: 2}

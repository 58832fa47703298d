"""What a quiet network refuses, and what it hands to Python, in both data planes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.dataplane.rig import PORT, SECOND, US, VNI, Rig, carrying, frame_to, mac, tunnel
from tests.support.dataplanes import DataPlaneClass
from tests.vxlan.packets import BROADCAST, ethernet
from wgvx.dataplane.interface import Network, Watched
from wgvx.drops import Reason
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.limits import Limits
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import ETHERTYPE_PROBE, PROBE_GROUP, Watch

GROUP = bytes.fromhex("01005e010203")
ARP = ethernet(bytes(28), 0x0806, destination=BROADCAST, source=mac(US))
PROBE = ethernet(bytes(46), ETHERTYPE_PROBE, destination=PROBE_GROUP, source=mac(US))


@pytest.fixture
def rig(dataplane_class: DataPlaneClass) -> Rig:
    return Rig(dataplane_class, peers=2)


def limited(rig: Rig, destination: bytes, **limits: int) -> None:
    rig.dataplane.set_network(Network(VNI, limits=Limits(**limits)))
    for _ in range(3):
        rig.transmit(frame_to(destination, US))


def sticky(rig: Rig) -> None:
    rig.dataplane.set_network(Network(VNI, sticky=True))
    rig.receive(carrying(frame_to(US, 9)))
    rig.receive(carrying(frame_to(US, 9), source=3), peer=3)


def damped(rig: Rig) -> None:
    rig.dataplane.set_network(Network(VNI, move_limit=2))
    for number in (2, 3, 2, 3):
        rig.receive(carrying(frame_to(US, 9), source=number), peer=number)
    (move,) = rig.dataplane.fdb_moves(VNI)
    assert (move.times, move.held_until) == (2, rig.now + 180 * SECOND)


def blocked(rig: Rig) -> None:
    rig.dataplane.set_blocked(PORT, True)
    rig.transmit(frame_to(9, US))


def to_blocked(rig: Rig) -> None:
    rig.dataplane.set_blocked(PORT, True)
    assert rig.receive(carrying(frame_to(US))).frames == []


def too_many_probes(rig: Rig) -> None:
    rig.dataplane.set_network(Network(VNI, watch=Watch.PROBES))
    for _ in range(1001):
        rig.transmit(PROBE)


CASES: list[tuple[Reason, Callable[[Rig], Any]]] = [
    (Reason.BROADCAST_LIMIT, lambda rig: limited(rig, BROADCAST, broadcast=2)),
    (Reason.MULTICAST_LIMIT, lambda rig: limited(rig, GROUP, multicast=2)),
    (Reason.UNKNOWN_LIMIT, lambda rig: limited(rig, mac(9), unknown=2)),
    (Reason.STICKY_MOVED, sticky),
    (Reason.MOVE_DAMPED, damped),
    (Reason.PORT_BLOCKED, blocked),
    (Reason.PORT_BLOCKED, to_blocked),
    (Reason.SLOW_PATH, too_many_probes),
]


@pytest.mark.parametrize(("reason", "act"), CASES)
def test_one_frame_counts_once(rig: Rig, reason: Reason, act: Callable[[Rig], Any]) -> None:
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    act(rig)
    assert rig.drops() == {reason: 1}


def test_a_watched_frame_goes_nowhere_until_it_is_told_to(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    rig.dataplane.set_network(Network(VNI, watch=Watch.ARP))
    burst = rig.transmit(ARP)
    assert burst.watched == [Watched(VNI, Local(PORT), ARP)]
    assert not burst.datagrams
    assert not burst.frames
    rig.dataplane.forward_frame(VNI, Local(PORT), ARP, rig.now)
    (datagram,) = rig.dataplane.take().datagrams
    assert rig.peers[2].open(datagram, rig.now).rstrip(b"\0").endswith(ARP.rstrip(b"\0"))

    there = ethernet(bytes(28), 0x0806, destination=BROADCAST, source=mac(2))
    burst = rig.receive(carrying(there))
    assert burst.watched == [Watched(VNI, Remote(tunnel(2)), there)]
    assert burst.frames == []
    rig.dataplane.forward_frame(VNI, Remote(tunnel(2)), there, rig.now)
    assert rig.dataplane.take().frames == [(PORT, there)]


def test_probes_are_handed_up_whatever_else_is(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, bytes(6), tunnel(2))
    rig.dataplane.set_network(Network(VNI, watch=Watch.ARP | Watch.PROBES))
    assert [len(rig.transmit(ARP).watched) for _ in range(1001)][-2:] == [1, 0]
    assert rig.transmit(PROBE).watched == [Watched(VNI, Local(PORT), PROBE)]


def test_a_frame_is_sent_where_it_is_told_to_alone(rig: Rig) -> None:
    rig.dataplane.set_blocked(PORT, True)
    rig.dataplane.send_frame(VNI, Forwarding((PORT,), (tunnel(2), tunnel(3))), PROBE, rig.now)
    burst = rig.dataplane.take()
    assert burst.frames == [(PORT, PROBE)]
    assert [datagram.endpoint for datagram in burst.datagrams] == [
        rig.peers[number].endpoint for number in (2, 3)
    ]
    assert rig.dataplane.network_counters(VNI).tx_frames == 1

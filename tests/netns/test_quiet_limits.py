"""Floods and stations in two places, between real nodes: limits, sticky entries, damped moves."""

from __future__ import annotations

import json
import time

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WgvxNode, tunnel_address, wgvx_pair, wgvx_three
from tests.netns.traffic import BROADCAST, Wire, assert_ping, frame, wires

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

STATION = "02:00:00:00:00:77"
LIMIT = 100
FLOOD = 3000
OTHERS = 50
"""Frames of the kernel's own meanwhile, at most."""


@pytest.mark.parametrize(
    ("key", "destination"),
    [
        ("broadcast_limit", BROADCAST),
        ("multicast_limit", "01:00:5e:01:02:03"),
        ("unknown_limit", "02:00:00:00:00:99"),
    ],
)
@pytest.mark.parametrize("where", ["sends", "hears"])
def test_a_flood_arrives_as_the_limit_allows(
    lab: Lab, key: str, destination: str, where: str
) -> None:
    a, b = wgvx_pair(lab)
    limited = a if where == "sends" else b
    limited.networks[0][key] = LIMIT
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    with wires((a.host, a.tap), (b.host, b.tap)) as (here, there):
        before = _heard(limited, where)
        began = time.monotonic()
        _flood(here, frame(destination, STATION, b"flood"))
        arrived = len(there.received(b"flood", 1))
        lasted = time.monotonic() - began
    # A second's worth at once, then by and by; other stations' broadcasts take their part of it.
    assert LIMIT <= arrived <= LIMIT * (lasted + 1) + 1
    heard = _heard(limited, where) - before
    assert heard > FLOOD / 2
    assert limited.drops(key) >= heard - arrived - OTHERS
    # Who is known is spoken to all the while.
    assert_ping(a.host, b.address[4])


def _heard(node: WgvxNode, where: str) -> int:
    """Frames that reached the node: on a busy machine the kernel loses some before."""
    if where == "hears":
        return int(node.network()["rx_frames"])
    (link,) = node.host.ip_json("-s", "link", "show", node.tap)
    return int(link["stats64"]["tx"]["packets"])


def _flood(wire: Wire, data: bytes) -> None:
    """No faster than a TAP's queue empties."""
    for number in range(FLOOD):
        wire.send(data)
        if number % 100 == 99:
            time.sleep(0.05)


def three(lab: Lab, **settings: object) -> tuple[WgvxNode, WgvxNode, WgvxNode]:
    """Two sites where a station may be, and one that hears of it, with these settings."""
    nodes = a, b, c = wgvx_three(lab)
    c.networks[0].update(settings)
    for node in nodes:
        node.start()
    for site in (a, b):
        assert_ping(site.host, c.address[4])
    return a, b, c


def where(node: WgvxNode) -> str | None:
    row = node.lookup(STATION)
    return None if row is None else row["vtep"]


def test_a_sticky_station_keeps_its_place(lab: Lab) -> None:
    a, b, c = three(lab, sticky=True, ageing=5)
    with wires(*((node.host, node.tap) for node in (a, b, c))) as (at_a, at_b, at_c):
        at_a.send(frame(BROADCAST, STATION, b"I am here"))
        at_c.expect(b"I am here")
        at_b.send(frame(BROADCAST, STATION, b"no, here"))
        eventually(lambda: c.drops("sticky_moved") == 1, "who poses as it is dropped")
        assert not at_c.received(b"no, here", 0.2)
        at_c.send(frame(STATION, "02:00:00:00:00:01", b"to the station"))
        at_a.expect(b"to the station")
        assert not at_b.received(b"to the station", 0.2)
        assert where(c) == tunnel_address(1, 4)
        # It is silent, and gone; then it is elsewhere.
        eventually(lambda: where(c) is None, "its entry ages", 30)
        at_b.send(frame(BROADCAST, STATION, b"moved"))
        at_c.expect(b"moved")
        assert where(c) == tunnel_address(2, 4)


def test_two_stations_with_one_mac_are_held_after_three_moves(lab: Lab) -> None:
    _, _, c = nodes = three(lab, move_limit=3)
    with wires(*((node.host, node.tap) for node in nodes)) as (at_a, at_b, at_c):
        # Where it is first is no move.
        for number, site in enumerate((at_a, at_b, at_a, at_b)):
            site.send(frame(BROADCAST, STATION, b"here %d" % number))
            at_c.expect(b"here %d" % number)
        for number, site in enumerate((at_a, at_b, at_a)):
            site.send(frame(BROADCAST, STATION, b"again %d" % number))
        eventually(lambda: c.drops("move_damped") == 2, "the one at the first site is dropped")
        assert len(at_c.received(b"again", 0.5)) == 1
    assert where(c) == tunnel_address(2, 4)
    (move,) = json.loads(c.wgvx("fdb", c.name, "moves", "--json").stdout)
    assert (move["mac"], move["times"]) == (STATION, 3)
    assert 150 < move["held"] <= 180
    assert move["to"]["vtep"] == tunnel_address(2, 4)

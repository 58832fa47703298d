"""Two or three nodes and one misfortune: a restart, a move, a wrong clock, a NAT, a dead path."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.sim.key_watch import REJECT_AFTER_TIME
from tests.sim.nat import SymmetricNat
from tests.sim.traffic import Stream, deliver_to, every
from tests.sim.world import CLEAN, Path, Station, World
from tests.support.engines import (
    MILLISECOND,
    NETWORK,
    SECOND,
    ethernet,
    peer_config,
    tunnel_address,
)
from wgvx.drops import Reason
from wgvx.wireguard.sessions import Endpoint
from wgvx.wireguard.tai64n import TimestampSource

YEAR = 365 * 24 * 3600 * SECOND
LOSSY = Path(loss=0.05, duplication=0.02, delay=(5 * MILLISECOND, 250 * MILLISECOND))

# KEEPALIVE_TIMEOUT + REKEY_TIMEOUT and the jitter: when a silent peer is called anew.
NEW_HANDSHAKE_AFTER = 15.34


def couple(world: World, *, keepalive: int = 0) -> tuple[Station, Station]:
    """Nodes 1 and 2; the first knows where the second is, not the other way round."""
    first = world.add(1, [peer_config(2, persistent_keepalive=keepalive)])
    second = world.add(2, [peer_config(1)])
    first.knows(second)
    return first, second


def stream(a: Station, b: Station, seconds: float, *, period: float = 1) -> Stream:
    """A frame each ``period`` from now on for this long."""
    now = a.world.now
    beat = every(round(period * SECOND))
    return Stream(a, b, first=now, next_after=beat, end=now + round(seconds * SECOND))


def test_a_restarted_node_is_heard_again_at_once_and_called_after_15_seconds(seed: int) -> None:
    world = World(seed)
    first, second = couple(world)
    there = stream(first, second, 60)
    world.run(0.5)
    back = stream(second, first, 20)
    deliver_to([there, back])
    world.run(20)
    assert len(there.delivered) == 20  # the very first came before anybody counted
    assert len(back.delivered) == back.sent == 20

    second.stop()
    world.run(1)
    second = world.add(2, [peer_config(1)])  # which no longer knows where the first one is
    there.destination = second
    deliver_to([there])
    before = len(there.delivered)
    restarted = world.now
    world.run(30)
    # It cannot ask for a key; the first one does once it has heard nothing for long enough.
    assert set(second.drops()) == {Reason.UNKNOWN_INDEX}
    silence = there.delivered[before] - restarted
    assert silence < (NEW_HANDSHAKE_AFTER + 1) * SECOND
    assert there.longest_gap(there.delivered[before], world.now) <= 1.1 * SECOND

    # One that knows where to call does so with its first frame.
    second.stop()
    second = world.add(2, [peer_config(1)])
    second.knows(first)
    again = stream(second, first, 5)
    deliver_to([again])
    world.run(6)
    assert len(again.delivered) == again.sent == 5


def test_roaming_loses_only_what_was_on_its_way(seed: int) -> None:
    world = World(seed)
    first, second = couple(world)
    second.knows(first)
    there = stream(first, second, 100, period=0.1)
    back = stream(second, first, 100, period=0.1)
    deliver_to([there, back])
    places = [
        Endpoint(ip_address(ip).packed, port)
        for ip, port in (("203.0.113.7", 51820), ("203.0.113.7", 9999), ("2001:db8::7", 51820))
    ]
    home = second.endpoint
    for place in [*places, home]:
        world.run(20.0)
        second.move(place)
        world.run(2)
        known = first.endpoint_of(second)
        assert known is not None
        assert known.remote() == place.remote()
    world.run(20)
    assert len(back.delivered) == back.sent == 1000
    # Nothing to the new place before the first packet from there: 0.1 s and the delay of 10 ms.
    assert there.sent - len(there.delivered) <= 2 * 4
    assert first.drops() == second.drops() == {}


def test_both_ends_move_at_once_and_one_finds_the_other(seed: int) -> None:
    world = World(seed, LOSSY)
    first, second = couple(world)
    there, back = stream(first, second, 200), stream(second, first, 200)
    deliver_to([there, back])
    world.run(60)
    second.move(Endpoint(b"\xcb\x00\x71\x07", 4000))
    first.move(Endpoint(b"\xcb\x00\x71\x08", 4000))
    world.run(60)
    # Neither knows where the other went: nothing arrives, and nothing is made up.
    moved = world.now - 59 * SECOND
    assert there.delivered_between(moved, world.now) == 0
    assert back.delivered_between(moved, world.now) == 0
    first.knows(second)
    told = world.now
    world.run(60)
    assert there.delivered_between(told, world.now) > 45
    assert back.delivered_between(told, world.now) > 45


@pytest.mark.parametrize("remembers", [True, False])
def test_a_clock_set_back_by_a_year_needs_the_bound_of_the_last_life(
    seed: int, remembers: bool
) -> None:
    world = World(seed)
    stored = [0]
    first = world.add(1, [peer_config(2)], timestamps=TimestampSource(0, stored.append))
    second = world.add(2, [peer_config(1)])
    first.knows(second)
    before = stream(first, second, 5)
    deliver_to([before])
    world.run(10)
    assert len(before.delivered) == 5

    first.stop()
    bound = stored[-1] if remembers else 0
    world.unix_offset[1] -= YEAR
    first = world.add(1, [peer_config(2)], timestamps=TimestampSource(bound, stored.append))
    first.knows(second)
    after = stream(first, second, 60)
    deliver_to([after])
    world.run(70)
    if remembers:
        assert len(after.delivered) == after.sent == 60
        assert second.drops() == {}
    else:
        assert after.delivered == []
        assert second.drops()[Reason.HANDSHAKE_REPLAY] >= 10  # one each 5 s


def test_a_clock_that_jumps_while_running_disturbs_nothing(seed: int) -> None:
    world = World(seed, LOSSY)
    first, second = couple(world)
    second.knows(first)
    there, back = stream(first, second, 1200), stream(second, first, 1200)
    deliver_to([there, back])
    world.run(600)
    world.unix_offset[second.number] -= YEAR
    world.run(601)
    for one in (there, back):
        assert one.longest_gap(world.now - 1200 * SECOND, world.now) < 10 * SECOND


@pytest.mark.parametrize("keepalive", [25, 0])
def test_a_nat_that_forgets_after_30_seconds(seed: int, keepalive: int) -> None:
    world = World(seed)
    nat = SymmetricNat(b"\xcb\x00\x71\x63")
    world.nats.append(nat)
    first = world.add(1, [peer_config(2, persistent_keepalive=keepalive)])
    first.nat = nat
    second = world.add(2, [peer_config(1)])
    first.knows(second)
    hello = stream(first, second, 1)
    deliver_to([hello])
    world.run(600)
    assert len(hello.delivered) == 1

    # The one in the open speaks after ten minutes of silence.
    down = stream(second, first, 30)
    deliver_to([down])
    world.run(31)
    if keepalive:
        assert len(down.delivered) == down.sent == 30
        # 24 intervals and no chatter: keepalives of 32 bytes, handshakes every two minutes.
        assert first.watch.sessions <= 7
    else:
        assert down.delivered == []
    assert first.drops() == {}


def test_frames_cross_a_hub(seed: int) -> None:
    world = World(seed, LOSSY)
    hub, left, right = 1, 2, 3
    overlay = {
        n: replace(NETWORK, remotes=tuple(ip_address(tunnel_address(r)) for r in remotes))
        for n, remotes in {hub: (left, right), left: (hub, right), right: (hub, left)}.items()
    }
    everyone = ["10.254.0.0/16"]
    middle = world.add(
        hub, [peer_config(left), peer_config(right)], networks=[overlay[hub]], forward=True
    )
    leaves = [
        world.add(n, [peer_config(hub, allowed_ips=everyone)], networks=[overlay[n]])
        for n in (left, right)
    ]
    for leaf in leaves:
        leaf.knows(middle)
        middle.knows(leaf)
    # A broadcast of each tells who is where; the hub's own port hears it as well.
    for leaf in leaves:
        leaf.transmit(ethernet(b"\xff" * 6, leaf.mac))
    world.run(5)
    streams = [
        stream(a, b, 1200)
        for a, b in (
            (leaves[0], leaves[1]),
            (leaves[1], leaves[0]),
            (leaves[0], middle),
            (middle, leaves[1]),
        )
    ]
    deliver_to(streams)
    world.run(1201)
    for one in streams:
        hops = 1 if middle in (one.source, one.destination) else 2
        # The loss of each hop, and a margin of six standard deviations.
        assert len(one.delivered) > (0.95**hops - 0.06) * one.sent
    expected = {
        Reason.REPLAYED,
        Reason.HANDSHAKE_REPLAY,
        Reason.UNKNOWN_INDEX,
        Reason.KEY_EXPIRED,
    }
    for station in (middle, *leaves):
        assert station.drops().keys() <= expected, station.drops()


def test_after_an_outage_of_ten_minutes_traffic_is_back_within_seconds(seed: int) -> None:
    world = World(seed)
    first, second = couple(world)
    there, back = stream(first, second, 1000), stream(second, first, 1000)
    deliver_to([there, back])
    world.run(100)
    world.path = replace(CLEAN, loss=1.0)
    world.run(600)
    sent_before = world.datagrams
    world.path = CLEAN
    world.run(6)
    mended = world.now
    world.run(300)
    for one in (there, back):
        assert one.longest_gap(mended, mended + 290 * SECOND) <= 1.1 * SECOND
    # While nothing came through, handshakes were tried every five seconds and no oftener; data
    # went out under a key of up to 180 s and then waited, 128 packets at most.
    assert sent_before < 2 * (100 + 180 + 600 / 5 + 40)
    for station in (first, second):
        assert station.drops()[Reason.STAGED_OVERFLOW] > 200


@pytest.mark.parametrize("outage", [0, 1, 7, 12, 40, 85])
def test_a_single_frame_waits_for_the_path(seed: int, outage: int) -> None:
    world = World(seed, replace(CLEAN, loss=1.0))
    first, second = couple(world)
    one = stream(first, second, 0.5)
    deliver_to([one])
    world.run(outage)
    world.path = CLEAN
    mended = world.now
    world.run(10)
    # Nothing but the retry timer asks for a handshake here: every 5 s and up to a third.
    (arrived,) = one.delivered
    assert arrived - mended < 5.4 * SECOND
    assert world.datagrams <= 4 + outage / 5


def test_a_path_that_loses_four_in_ten_keeps_to_the_age_of_keys(seed: int) -> None:
    world = World(seed, replace(LOSSY, loss=0.4))
    first, second = couple(world)
    second.knows(first)
    there, back = stream(first, second, 6 * 3600), stream(second, first, 6 * 3600)
    deliver_to([there, back])
    world.run(6 * 3600 + 1)
    for station in (first, second):
        # Handshakes fail often enough here for keys to be used to their end, and no further.
        assert 150 * SECOND < station.watch.oldest_opened < REJECT_AFTER_TIME
        assert Reason.AUTH_FAILED not in station.drops()
    for one in (there, back):
        assert len(one.delivered) > 0.55 * one.sent


def test_an_idle_link_is_silent_until_its_keys_are_gone(seed: int) -> None:
    world = World(seed)
    first, second = couple(world)
    once = stream(first, second, 1)
    deliver_to([once])
    world.run(30)
    spoken = world.datagrams  # initiation, response, data, and the keepalive that answers it
    assert spoken == 4
    world.run(24 * 3600)
    assert world.datagrams == spoken
    assert first.watch.sessions == second.watch.sessions == 1

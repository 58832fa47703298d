"""Which peers are asked, how often, and what is told of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import cast

import pytest

from wgvx.dataplane.interface import DataPlane, PeerCounters
from wgvx.drops import Reason
from wgvx.paths.probes import PROBES_A_STEP, Change, PathProbes
from wgvx.paths.search import SECOND
from wgvx.vxlan.icmp import echo_request

TOP = 1420
OURS, THEIRS = bytes((10, 254, 0, 1)), bytes((10, 254, 0, 2))


class Plane:
    """Of a data plane what probes need: peers whose paths carry so much, and who answer."""

    def __init__(self) -> None:
        self.carries: dict[int, int] = {}
        self.silent: set[int] = set()
        self.gone: set[int] = set()
        """Without a session."""
        self.sent: list[tuple[int, bytes]] = []
        self.expected: dict[int, bytes] = {}
        self.answered: list[int] = []
        self.bytes: dict[int, int] = {}

    def peer_counters(self, peer: int) -> PeerCounters:
        return PeerCounters(0, self.bytes.get(peer, 0))

    def expect_echo(self, peer: int, source: bytes, rest: bytes) -> None:
        assert not rest or source == THEIRS
        self.expected[peer] = rest

    def send_probe(self, peer: int, packet: bytes, now: int) -> Reason | None:
        assert now > 0
        if peer in self.gone:
            return Reason.NO_ENDPOINT
        self.sent.append((peer, packet))
        self.bytes[peer] = self.bytes.get(peer, 0) + len(packet) + 32
        if len(packet) <= self.carries[peer] and peer not in self.silent:
            assert packet[20:] == echo_request(OURS, THEIRS, self.expected[peer])
            self.answered.append(peer)
        return None


class Site:
    """Probes over such a plane, and a clock."""

    def __init__(self, *sizes: int) -> None:
        self.plane = Plane()
        self.plane.carries = dict(enumerate(sizes))
        self.addressed = True
        self.now = SECOND
        self.probes = PathProbes(
            cast(DataPlane, self.plane),
            lambda _: (OURS, THEIRS) if self.addressed else None,
            random.Random(1).randbytes,
        )
        self.probes.set(on=True, top=TOP)
        for peer in self.plane.carries:
            self.probes.add(peer)

    def run(self, seconds: int, *, traffic: int = 2000) -> Iterator[int]:
        """Gives how many probes each second sent."""
        for _ in range(seconds):
            before = len(self.plane.sent)
            self.now += SECOND
            for peer in self.plane.carries:
                self.plane.bytes[peer] = self.plane.bytes.get(peer, 0) + traffic
            deadline = self.probes.next_deadline(self.now)
            if deadline is not None and deadline <= self.now:
                self.probes.expire(self.now)
            while self.plane.answered:
                self.probes.echoed(self.plane.answered.pop(0), self.now)
            yield len(self.plane.sent) - before

    def pass_by(self, seconds: int, *, traffic: int = 2000) -> None:
        for _ in self.run(seconds, traffic=traffic):
            pass


def test_a_path_is_followed() -> None:
    site = Site(TOP)
    site.pass_by(30)
    assert (site.probes.mtu(0), site.probes.take_changes()) == (TOP, [])
    site.plane.carries[0] = 1300
    site.pass_by(120)
    assert site.probes.take_changes() == [Change(0, TOP, 1296)]
    assert site.probes.lowest() == 1296
    site.plane.carries[0] = TOP
    site.pass_by(700)
    assert site.probes.take_changes() == [Change(0, 1296, TOP)]
    assert site.probes.lowest() == TOP


def test_the_lowest_of_several_counts_while_it_is_in_use() -> None:
    site = Site(TOP, 1350, 1400)
    site.pass_by(60)
    assert site.probes.lowest() == 1344
    assert [site.probes.mtu(peer) for peer in range(3)] == [TOP, 1344, 1392]
    site.probes.forget(1)
    del site.plane.carries[1]
    assert site.probes.lowest() == 1392


def test_what_is_known_of_an_idle_path_is_forgotten() -> None:
    site = Site(1300)
    site.pass_by(60)
    assert site.probes.take_changes() == [Change(0, TOP, 1296)]
    site.pass_by(2000, traffic=0)
    assert site.probes.take_changes() == [Change(0, 1296, None)]
    assert site.probes.lowest() == TOP


@pytest.mark.parametrize("traffic", [0, 10])
def test_an_idle_peer_is_left_alone(traffic: int) -> None:
    site = Site(TOP)
    site.pass_by(600, traffic=traffic)
    assert site.plane.sent == []


def test_a_peer_that_answers_nothing_changes_nothing() -> None:
    site = Site(TOP)
    site.plane.silent = {0}
    site.pass_by(1200)
    assert (site.probes.mtu(0), site.probes.take_changes()) == (None, [])
    assert len(site.plane.sent) <= 12


@pytest.mark.parametrize("why", ["no session", "no address"])
def test_who_cannot_be_asked_is_not(why: str) -> None:
    site = Site(TOP)
    site.plane.gone = {0} if why == "no session" else set()
    site.addressed = why == "no session"
    site.pass_by(100)
    assert site.plane.sent == []
    assert site.probes.mtu(0) is None


def test_probes_are_few_however_many_peers_there_are() -> None:
    site = Site(*[1300] * 500)
    counts = list(site.run(300))
    # An answer is followed by the next probe at once, in a search of five steps at most.
    assert max(counts) <= 5 * PROBES_A_STEP
    assert all(site.probes.mtu(peer) == 1296 for peer in range(500))
    quiet = list(site.run(600))
    assert sum(quiet) / 600 < 500 / 60 * 3


def test_switched_off_nothing_is_known() -> None:
    site = Site(1300)
    site.pass_by(60)
    site.probes.take_changes()
    site.probes.set(on=False, top=TOP)
    assert site.probes.take_changes() == [Change(0, 1296, None)]
    assert (site.probes.mtu(0), site.probes.lowest()) == (None, TOP)
    assert site.probes.next_deadline(site.now) is None
    sent = len(site.plane.sent)
    site.pass_by(100)
    assert len(site.plane.sent) == sent


def test_a_hint_asks_sooner() -> None:
    site = Site(TOP)
    site.pass_by(12)
    site.plane.carries[0] = 1300
    site.probes.hint(0)
    site.pass_by(40)
    assert site.probes.mtu(0) == 1296

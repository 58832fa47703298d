"""Ends that move: to other addresses, families and ports, and behind a NAT that forgets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from interop.capture import DATA, INITIATION, RESPONSE
from interop.changing import silence, wg_set
from interop.matches import CALLERS, NEWEST_GO, ONE, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.paths import FORGETS_AFTER, join_by_router, translate
from interop.peers import CLING, Far
from interop.wiretap import Wiretap
from tests.netns.lab import Lab, Namespace
from tests.netns.nodes import PORT, endpoint
from tests.netns.traffic import assert_ping, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

ELSEWHERE = {4: "192.0.2.77", 6: "2001:db8::77"}
ATTACKER = "192.0.2.66"
OTHER_PORT = 51999
PREFIX_LENGTH = {4: 24, 6: 64}


# --- to another place --------------------------------------------------------------------------


def move(node: Far, old: str, new: str) -> None:
    """A node's host has another address from now on, of whichever family."""
    for verb, address in (("del", old), ("add", new)):
        family = 6 if ":" in address else 4
        nodad = ("nodad",) if (verb, family) == ("add", 6) else ()
        prefix = f"{address}/{PREFIX_LENGTH[family]}"
        node.place.ip("address", verb, prefix, "dev", "eth0", *nodad)


def assert_none_lost(a: Far, b: Far) -> None:
    """Each echo request is answered, be it late: a busy machine is no loss."""
    done = a.place.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", b.address[4], check=False)
    assert "2 received" in done.stdout, done.stdout


def assert_follows(mover: Far, other: Far, address: str) -> None:
    """The first thing that the mover says is answered at its new place, where it can be called."""
    assert_none_lost(mover, other)
    assert other.endpoint(mover.id) == endpoint(address, mover.id.port)
    assert_none_lost(other, mover)


def turn_to(node: Far, other: Far, family: int) -> None:
    """Who changes the family must say where the other end is there."""
    wg_set(node, "peer", other.id.public, "endpoint", endpoint(other.id.address[family], PORT))


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
def test_to_other_addresses_families_and_ports(lab: Lab, match: Match, make_far: MakeFar) -> None:
    pair = make_pair(lab, match, make_far)
    assert_ping(pair.ours.place, pair.theirs.address[4], count=1)
    for a, b in pair.ways:
        home = a.id.address
        for a.id.port in (OTHER_PORT, PORT):
            wg_set(a, "listen-port", str(a.id.port))
            assert_follows(a, b, home[4])
        if a is pair.theirs and match.far in CLING:
            continue
        # Both families are there at first. From now on it is one at a time.
        a.place.ip("address", "del", f"{home[6]}/64", "dev", "eth0")
        move(a, home[4], ELSEWHERE[4])
        assert_follows(a, b, ELSEWHERE[4])
        assert a.endpoint(b.id) == endpoint(b.id.address[4], PORT)
        if match.far != NEWEST_GO:
            move(a, ELSEWHERE[4], home[6])
            turn_to(a, b, 6)
            assert_follows(a, b, home[6])
            move(a, home[6], ELSEWHERE[6])
            assert_follows(a, b, ELSEWHERE[6])
            assert a.endpoint(b.id) == endpoint(b.id.address[6], PORT)
            move(a, ELSEWHERE[6], ELSEWHERE[4])
            turn_to(a, b, 4)
            assert_follows(a, b, ELSEWHERE[4])
        move(a, ELSEWHERE[4], home[4])
        assert_follows(a, b, home[4])
        a.place.ip("address", "add", f"{home[6]}/64", "dev", "eth0", "nodad")


# --- an attacker -------------------------------------------------------------------------------


@contextlib.contextmanager
def tapped_pair(lab: Lab, match: Match, make_far: MakeFar) -> Iterator[tuple[Pair, Wiretap]]:
    """A pair that was overheard from its first message on."""
    taps: list[Wiretap] = []
    try:
        pair = make_pair(lab, match, make_far, prepare=lambda _: taps.append(Wiretap(*lab.hosts)))
        yield pair, taps[0]
    finally:
        for tap in taps:
            tap.close()


@pytest.mark.parametrize("match", CALLERS, ids=str, indirect=True)
def test_replays_and_forgeries_move_nobody(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """Neither handshake messages nor data, sent once more by somebody who has seen them all."""
    with tapped_pair(lab, match, make_far) as (pair, tap):
        ours, theirs = pair.ours, pair.theirs
        for a, b in pair.ways:
            silence(a)
            assert_ping(a.place, b.address[4], count=2)
        places = ours.endpoint(theirs.id), theirs.endpoint(ours.id)
        received, sent = tap.datagrams()
        assert {datagram[0] for datagram in received + sent} == {INITIATION, RESPONSE, DATA}
        ours.host.ip("address", "add", f"{ATTACKER}/24", "dev", "eth0")
        before = ours.show()["drops"]
        with ours.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            attacker.bind((ATTACKER, 0))
            for node, datagrams in ((ours, received), (theirs, sent)):
                target = node.id.address[4], PORT
                for datagram in datagrams:
                    attacker.sendto(datagram, target)
                for datagram in (one for one in datagrams if one[0] == DATA):
                    attacker.sendto(datagram[:-1] + bytes([datagram[-1] ^ 1]), target)
        assert (ours.endpoint(theirs.id), theirs.endpoint(ours.id)) == places
        for a, b in pair.ways:
            assert ping(a.place, b.address[4], count=2)
        assert (ours.endpoint(theirs.id), theirs.endpoint(ours.id)) == places
        # Each was counted once, for what it is.
        drops = ours.show()["drops"]
        grown = {name: n - before[name] for name, n in drops.items() if n != before[name]}
        kinds = [datagram[0] for datagram in received]
        expected = {
            "replayed": kinds.count(DATA),
            "auth_failed": kinds.count(DATA),
            "handshake_replay": kinds.count(INITIATION),
            "unknown_index": kinds.count(RESPONSE),
        }
        assert grown == {name: count for name, count in expected.items() if count}


# --- behind a NAT ------------------------------------------------------------------------------


def pair_with_a_nat(
    lab: Lab, match: Match, make_far: MakeFar, *, keepalive: int | None = None
) -> Pair:
    """Whoever calls is inside, its mapping open; nobody says anything unasked."""
    routers: list[Namespace] = []

    def join(lab: Lab, w: Namespace, f: Namespace) -> None:
        routers.append(join_by_router(lab, w, f))
        translate(routers[0], outside=f if match.caller == "wgvx" else w)

    keepalives = (keepalive, None) if match.caller == "wgvx" else (None, keepalive)
    pair = make_pair(lab, match, make_far, join=join, keepalives=keepalives)
    for end in (pair.ours, pair.theirs):
        silence(end)
    assert_ping(pair.first.place, pair.second.address[4], count=1)
    seen = pair.second.endpoint(pair.first.id)
    assert seen is not None
    assert seen.startswith(f"{routers[0].address(4)}:")
    assert ping(pair.second.place, pair.first.address[4])
    return pair


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
def test_a_nat_that_forgets(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """Nobody gets in any more, until the one inside speaks: from a new port, which is followed."""
    pair = pair_with_a_nat(lab, match, make_far)
    inside, outside = pair.first, pair.second
    before = outside.endpoint(inside.id)
    time.sleep(FORGETS_AFTER + 1.5)
    assert not ping(outside.place, inside.address[4])
    assert outside.endpoint(inside.id) == before
    assert ping(inside.place, outside.address[4])
    assert outside.endpoint(inside.id) != before
    assert ping(outside.place, inside.address[4])


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
def test_a_keepalive_each_second_holds_a_nat_open(
    lab: Lab, match: Match, make_far: MakeFar
) -> None:
    pair = pair_with_a_nat(lab, match, make_far, keepalive=1)
    inside, outside = pair.first, pair.second
    before = outside.endpoint(inside.id)
    time.sleep(2 * FORGETS_AFTER + 0.5)
    assert ping(outside.place, inside.address[4], count=2)
    assert outside.endpoint(inside.id) == before

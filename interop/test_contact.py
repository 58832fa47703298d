"""First contact, and what happens to it when keys and peers change."""

from __future__ import annotations

import itertools

import pytest

from interop.changing import acquaint, change_key, forget, set_psk
from interop.matches import BORINGTUN, MATCHES, PLAYS_ALL, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import Far
from interop.together import Together
from tests.netns.lab import Lab, eventually
from tests.netns.nodes import preshared_key
from tests.netns.traffic import assert_neighbours, assert_ping, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

FAMILIES = [(4, 4), (4, 6), (6, 4), (6, 6)]
"""Of the underlay, and of the tunnel inside it."""
CONTACTS = [
    (match, *families)
    for match, families in (
        itertools.product(MATCHES, FAMILIES)
        if PLAYS_ALL
        else zip(MATCHES, itertools.cycle(FAMILIES), strict=False)
    )
]
"""In CI each match with one of the families."""

ONE_HANDSHAKE = 4.5
"""Seconds: less than REKEY_TIMEOUT, so that an initiation which came to nothing is noticed."""
SKEW = 2
"""Seconds between two ends that tell of one handshake: of rounding, and of the guest's clock."""


def assert_both_tell_the_same(pair: Pair) -> None:
    told = [a.latest_handshake(b.id) for a, b in pair.ways]
    assert min(told) > 0
    assert abs(told[0] - told[1]) <= SKEW

    def alike() -> bool:
        return pair.ours.transfer(pair.theirs.id) == pair.theirs.transfer(pair.ours.id)[::-1]

    eventually(alike, "what one end sent the other has received")


@pytest.mark.parametrize(
    ("match", "underlay", "overlay"),
    CONTACTS,
    ids=[f"{match}-v{underlay}-v{overlay}" for match, underlay, overlay in CONTACTS],
)
def test_first_contact(
    lab: Lab, make_far: MakeFar, match: Match, underlay: int, overlay: int
) -> None:
    """Neighbours are found both ways; both ends tell of one handshake and of the same bytes.

    With a preshared key where the tunnel is IPv6. Boringtun tells a handshake by its age, not its
    time, and counts what is in its packets.
    """
    psk = preshared_key() if overlay == 6 else None
    pair = make_pair(lab, match, make_far, underlay=underlay, overlay=overlay, psks=(psk, psk))
    for a, b in ((pair.first, pair.second), (pair.second, pair.first)):
        before = a.transfer(b.id)
        assert_neighbours(a.place, a.tap, b.place, b.tap, b.address.values())
        after = a.transfer(b.id)
        assert after[0] > before[0]
        assert after[1] > before[1]
    if match.far != BORINGTUN:
        assert_both_tell_the_same(pair)
    drops = {reason for reason, count in pair.ours.show()["drops"].items() if count}
    # What we announce at the start goes to nobody where the far end has yet to call.
    assert drops <= (set() if pair.first is pair.ours else {"no_endpoint"})


def other_end(pair: Pair, node: Far) -> Far:
    return pair.theirs if node is pair.ours else pair.ours


def assert_mute(pair: Pair, asking: Far) -> None:
    """No way there and back."""
    assert not ping(asking.place, other_end(pair, asking).address[4])


def assert_talk(pair: Pair, caller: Far, timeout: float = ONE_HANDSHAKE) -> None:
    """``caller`` reaches the other end, by default with the first handshake that it tries."""
    other = other_end(pair, caller)
    assert_ping(caller.place, other.address[4], timeout=timeout)
    assert_ping(other.place, caller.address[4], timeout=1)


def wrong_and_right_psk(pair: Pair) -> None:
    first, second = pair.first, pair.second
    assert_ping(first.place, second.address[4])
    right = preshared_key()
    set_psk(second, first.id, right)
    forget(first, second.id.public)
    acquaint(first, second.id)
    set_psk(first, second.id, preshared_key())
    assert_mute(pair, first)
    assert_mute(pair, second)
    assert first.latest_handshake(second.id) == 0
    if first is pair.ours:
        eventually(lambda: pair.ours.drops("handshake_failed"), "the response does not fit")
    set_psk(first, second.id, right)
    # The caller goes on trying, every REKEY_TIMEOUT and up to 1/3 s of jitter.
    assert_talk(pair, first, timeout=8)
    for a, b in pair.ways:
        set_psk(a, b.id, None)
    assert_talk(pair, pair.theirs)


def test_a_wrong_preshared_key_and_the_right_one(match: Match, together: Together) -> None:
    """Nothing passes before both have the same.

    Only who calls can tell, by the response, so only where wgvx calls it has something to count.
    """
    together.play(match, wrong_and_right_psk)


def their_new_key(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    assert_ping(ours.place, theirs.address[4])
    refused, old = ours.drops("handshake_failed"), theirs.id.public
    change_key(theirs)
    assert_mute(pair, theirs)
    eventually(lambda: ours.drops("handshake_failed") > refused, "a stranger is refused")
    forget(ours, old)
    acquaint(ours, theirs.id)
    assert_talk(pair, ours)


def test_the_far_end_gets_a_new_key(match: Match, together: Together) -> None:
    """It calls us by its new key: that is nobody's to us, and counts, until we are told."""
    together.play(match, their_new_key)


def our_new_key(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    assert_ping(theirs.place, ours.address[4])
    old = ours.id.public
    change_key(ours)
    assert_mute(pair, theirs)
    assert ours.show()["public_key"] == ours.id.public
    forget(theirs, old)
    acquaint(theirs, ours.id)
    assert_talk(pair, theirs)


def test_we_get_a_new_key(match: Match, together: Together) -> None:
    """We are a stranger to the far end until it is told."""
    together.play(match, our_new_key)


def removed_and_added(pair: Pair) -> None:
    for a, b in pair.ways:
        assert_ping(a.place, b.address[4])
        forget(a, b.id.public)
        assert_mute(pair, b)
        acquaint(a, b.id)
        assert_talk(pair, a)


def test_a_peer_is_removed_and_added_again(match: Match, together: Together) -> None:
    """By either end, which then calls, while the other one still has the old session."""
    together.play(match, removed_and_added)

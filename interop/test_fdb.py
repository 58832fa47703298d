"""Who is where: what two ends learn of each other, are told, and forget.

With more than two ends: test_three_sites.py; several VNIs, ageing and ends that do not learn:
test_vxlan_selftests.py.
"""

from __future__ import annotations

import pytest

from interop.frames import recording
from interop.matches import MATCHES
from interop.pair import Pair
from interop.sites import (
    add_static,
    assert_learns,
    delete,
    new_station,
    speak,
    vtep,
    whereabouts,
)
from tests.netns.lab import eventually
from tests.netns.nodes import FLOOD_MAC
from tests.netns.traffic import BROADCAST, assert_ping, mac_of

# Who called makes no difference to a table.
PAIRS = list({(match.far, match.dataplane): match for match in MATCHES}.values())
pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(120),
    pytest.mark.parametrize("standing", PAIRS, indirect=True, ids=str),
]

NOWHERE = "10.254.0.77"
"""A tunnel address that no peer has."""


def test_both_learn_what_speaks_at_the_other_end(standing: Pair) -> None:
    for here, there in standing.ways:
        assert_ping(here.place, there.address[4], count=1)
        assert whereabouts(there, mac_of(here.place, here.tap)) == vtep(here)
        # Any frame tells where its sender is, not only one to all.
        for destination in (BROADCAST, mac_of(there.place, there.tap)):
            station = new_station()
            speak(here, station, to=destination)
            assert_learns(there, station, here)
    # Ours is a bridge as well, and knows its own side.
    station = new_station()
    speak(standing.ours, station)
    row = eventually(lambda: standing.ours.lookup(station), "it is known where it spoke")
    assert row is not None
    assert (row["state"], row["port"], row["vtep"]) == ("local", standing.ours.tap, None)


def test_a_station_moves_over_and_back(standing: Pair) -> None:
    ours, theirs = standing.ours, standing.theirs
    station = new_station()
    speak(theirs, station)
    assert_learns(ours, station, theirs)
    speak(ours, station)
    assert_learns(theirs, station, ours)
    row = ours.lookup(station)
    assert row is not None
    assert row["state"] == "local"
    speak(theirs, station)
    assert_learns(ours, station, theirs)
    with recording(theirs.place, theirs.tap) as arrived:
        speak(ours, new_station(), b"after it", to=station)
    assert len(arrived.carrying(b"after it")) == 1


def test_a_static_entry_does_not_move(standing: Pair) -> None:
    ours = standing.ours
    for here, there in standing.ways:
        impostor, bystander = new_station(), new_station()
        add_static(there, impostor, NOWHERE)
        refused = ours.drops("static_moved")
        with recording(there.place, there.tap) as arrived:
            speak(here, impostor, b"let me in")
            speak(here, bystander, b"and me")
        assert arrived.carrying(b"let me in") == []
        assert len(arrived.carrying(b"and me")) == 1
        assert whereabouts(there, impostor) == NOWHERE
        assert ours.drops("static_moved") == refused + (there is ours)
        # It was the entry that kept it out.
        delete(there, impostor, NOWHERE)
        speak(here, impostor)
        assert_learns(there, impostor, here)


def test_where_it_is_said_to_be_it_is_sent(standing: Pair) -> None:
    """Entries that are added and deleted while all runs decide over the very next frame."""
    ours = standing.ours
    for here, there in standing.ways:
        speaker, station = new_station(), new_station()
        drops = ours.show()["drops"]
        with recording(there.place, there.tap) as arrived:
            speak(here, speaker, b"1 unknown", to=station)
            add_static(here, station, NOWHERE)
            speak(here, speaker, b"2 astray", to=station)
            delete(here, station, NOWHERE)
            speak(here, speaker, b"3 unknown again", to=station)
            add_static(here, station, vtep(there))
            speak(here, speaker, b"4 known", to=station)
            delete(here, FLOOD_MAC, vtep(there))
            speak(here, speaker, b"5 known without flooding", to=station)
            speak(here, speaker, b"6 to all, who are none")
            add_static(here, FLOOD_MAC, vtep(there))
            speak(here, speaker, b"7 to all again")
        delete(here, station, vtep(there))
        seen = [frame[14:].rstrip(b"\0") for frame in arrived.frames if frame[14:15].isdigit()]
        assert seen == [
            *(b"1 unknown", b"3 unknown again", b"4 known"),
            *(b"5 known without flooding", b"7 to all again"),
        ]
        if here is ours:
            after = ours.show()["drops"]
            assert after["no_route"] == drops["no_route"] + 1
            assert after["no_remote"] >= drops["no_remote"] + 1


def test_flush(standing: Pair) -> None:
    """Ours forgets; the other end does not mind, and all is learned anew."""
    ours, theirs = standing.ours, standing.theirs
    assert_ping(ours.place, theirs.address[4], count=1)
    remote, local, told = new_station(), new_station(), new_station()
    speak(theirs, remote)
    speak(ours, local)
    assert_learns(ours, remote, theirs)
    assert_learns(theirs, local, ours)
    add_static(ours, told, vtep(theirs))

    def known() -> set[str]:
        return {row["mac"] for row in ours.fdb()} & {remote, local, told, FLOOD_MAC}

    def flush(*options: str) -> None:
        ours.wgvx("fdb", ours.name, "flush", *options)

    assert known() == {remote, local, told, FLOOD_MAC}
    flush("--vtep", NOWHERE)
    assert known() == {remote, local, told, FLOOD_MAC}
    flush("--vtep", vtep(theirs))
    assert known() == {local, told, FLOOD_MAC}
    flush()
    assert known() == {told, FLOOD_MAC}
    flush("--static")
    assert known() == {FLOOD_MAC}
    # What the other end knows sends its frames here; with the first of them ours knows again.
    assert whereabouts(theirs, local) == vtep(ours)
    speak(theirs, remote, to=local)
    assert_learns(ours, remote, theirs)
    assert_ping(ours.place, theirs.address[4], count=1)


def test_the_address_of_an_end_cannot_be_taken(standing: Pair) -> None:
    """Neither end believes that its own MAC is elsewhere, whoever says so."""
    ours = standing.ours
    for here, there in standing.ways:
        own = mac_of(there.place, there.tap)
        refused = ours.drops("own_mac")
        with recording(there.place, there.tap) as arrived:
            speak(here, own, b"I am you")
            speak(here, new_station(), b"I am not")
        assert arrived.carrying(b"I am you") == []
        assert len(arrived.carrying(b"I am not")) == 1
        assert whereabouts(there, own) is None
        assert ours.drops("own_mac") == refused + (there is ours)
        # At ours it has been learned on the TAP, until it speaks where it belongs.
        speak(there, own)
        assert_learns(here, own, there)
        assert_ping(here.place, there.address[4], count=1)

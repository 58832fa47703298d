"""Groups reach who listens to them, and while nobody knows who does, everybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataplane.rig import PORT, SECOND, mac
from tests.quiet import group_messages as made
from tests.quiet.group_messages import BLOCK, TO_IN, record
from tests.quiet.site import SECOND_PORT, Site
from tests.support.dataplanes import DataPlaneClass
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.quiet import memberships
from wgvx.quiet.snooping import Snooping
from wgvx.vxlan.fdb import FLOOD, Local

G, H = "239.1.2.3", "ff15::1:42"
G_TWIN = "238.129.2.3"
"""Has the same MAC."""
LOCAL, LOCAL_6 = "224.0.0.251", "ff02::fb"
EVERYWHERE = [SECOND_PORT], [2, 3]
QUERIES: dict[str, Callable[..., bytes]] = {G: made.query, H: made.mld_query}
OLD: dict[str, Callable[..., bytes]] = {G: made.old_report, H: made.old_mld_report}


@pytest.fixture
def site(dataplane_class: DataPlaneClass) -> Site:
    return Site(dataplane_class, Snooping)


def went(got: tuple[dict[int, list[bytes]], list[int]]) -> tuple[list[int], list[int]]:
    """Ports and VTEPs."""
    return sorted(got[0]), got[1]


def streams(site: Site, group: str, port: int = PORT) -> tuple[list[int], list[int]]:
    """Where a datagram to a group goes that enters at a port."""
    return went(site.enters(made.stream(group), port))


def streams_in(site: Site, group: str, vtep: int = 2) -> list[int]:
    """The ports that one from a VTEP goes to."""
    return went(site.arrives(made.stream(group), vtep))[0]


def asked(site: Site, group: str = G, vtep: int = 3, **more: object) -> None:
    """A querier behind a VTEP asks, and all have answered."""
    frames, vteps = site.arrives(QUERIES[group](**more), vtep)
    assert (sorted(frames), vteps) == ([PORT, SECOND_PORT], [])
    site.wait(11.1)


@pytest.mark.parametrize("group", [G, H])
def test_without_a_querier_nothing_is_restricted(site: Site, group: str) -> None:
    assert streams(site, group) == EVERYWHERE
    assert went(site.enters(made.joins(group))) == EVERYWHERE
    assert went(site.enters(OLD[group](group))) == EVERYWHERE
    assert streams(site, group) == EVERYWHERE
    assert streams_in(site, group) == [PORT, SECOND_PORT]


@pytest.mark.parametrize(("group", "other"), [(G, H), (H, G)])
def test_with_one_groups_go_to_members_and_routers(site: Site, group: str, other: str) -> None:
    site.arrives(QUERIES[group](), 3)
    assert streams(site, group) == EVERYWHERE  # Who listens had no time to answer.
    site.wait(11.1)
    assert streams(site, group) == ([], [3])
    assert streams_in(site, group) == []
    assert streams(site, other) == EVERYWHERE  # Nobody asked in that family.
    # To all VTEPs, as each may send to the group; to no port, as no router is there.
    assert went(site.enters(made.joins(group), SECOND_PORT)) == ([], [2, 3])
    assert streams(site, group) == ([SECOND_PORT], [3])
    assert streams_in(site, group) == [SECOND_PORT]
    assert went(site.arrives(made.joins(group), 2)) == ([], [])
    assert streams(site, group) == ([SECOND_PORT], [2, 3])
    for everybodys in (LOCAL, LOCAL_6, "ff02::1:ff00:1"):
        assert streams(site, everybodys) == EVERYWHERE
    site.feature.close(site.now)
    assert streams(site, group) == EVERYWHERE


@pytest.mark.parametrize("group", [G, H])
def test_reports_go_to_routers_at_ports(site: Site, group: str) -> None:
    assert went(site.enters(QUERIES[group](), SECOND_PORT)) == ([PORT], [2, 3])
    site.wait(11.1)
    assert streams(site, group) == ([SECOND_PORT], [])
    assert went(site.enters(made.joins(group))) == ([SECOND_PORT], [2, 3])
    assert went(site.arrives(made.joins(group))) == ([SECOND_PORT], [])
    assert went(site.arrives(OLD[group](group))) == ([SECOND_PORT], [])
    assert site.rig.drops() == {}


def test_a_lone_port_drops_nothing(site: Site) -> None:
    for number in (2, 3):
        site.dataplane.fdb_delete(42, FLOOD, bytes((10, 254, 0, number)))
    site.enters(made.query(), SECOND_PORT)
    site.wait(11.1)
    assert went(site.enters(made.joins(G), SECOND_PORT)) == ([], [])
    assert went(site.enters(made.old_report(G), SECOND_PORT)) == ([], [])
    assert site.rig.drops() == {}


@pytest.mark.parametrize("group", [G, H])
def test_an_older_report_silences_nobody_behind_a_vtep(site: Site, group: str) -> None:
    """The router has it as it was, others as one of the newest version."""
    asked(site, group)
    old = OLD[group](group)
    burst = site.rig.transmit(old)
    for _, origin, frame in burst.watched:
        site.feature.handle(origin, frame, site.now)
    frames, sent = site.leaves()
    assert frames == {}
    assert [vtep for vtep, _ in sent] == [3, 2, 3]
    assert sent[0][1].startswith(old)
    assert sent[1][1] == sent[2][1]
    assert sent[1][1][:6] == made.joins(group)[:6]
    assert streams_in(site, group) == [PORT]


@pytest.mark.parametrize("group", [G, H])
def test_one_from_a_vtep_may_have_silenced_others(site: Site, group: str) -> None:
    asked(site, group)
    site.arrives(OLD[group](group), 2)
    assert streams(site, group) == EVERYWHERE
    # Unless its node snoops: then the same comes again, translated.
    site.arrives(made.joins(group), 2)
    assert streams(site, group) == ([], [2, 3])
    site.arrives(OLD[group](group), 2)
    site.arrives(made.joins(group, station=6), 2)  # Another station's.
    assert streams(site, group) == EVERYWHERE
    site.wait(1.1)
    site.arrives(made.joins(group), 2)
    assert streams(site, group) == EVERYWHERE


def test_where_there_is_no_third_nobody_was_silenced(site: Site) -> None:
    site.dataplane.fdb_delete(42, FLOOD, bytes((10, 254, 0, 3)))
    site.enters(made.query(), SECOND_PORT)
    site.wait(11.1)
    site.arrives(made.old_report(G), 2)
    assert streams(site, G) == ([SECOND_PORT], [2])


def test_what_goes_everywhere_follows_the_flood_list(site: Site) -> None:
    asked(site)
    site.arrives(made.old_report(G), 2)
    site.dataplane.fdb_delete(42, FLOOD, bytes((10, 254, 0, 3)))
    site.wait(10.1)
    assert streams(site, G) == ([SECOND_PORT], [2])


@pytest.mark.parametrize("group", [G, H])
def test_a_member_that_falls_silent_is_forgotten(site: Site, group: str) -> None:
    asked(site, group)
    site.enters(made.joins(group), SECOND_PORT)
    site.wait(125)
    site.arrives(QUERIES[group](), 3)
    site.wait(134)
    assert streams_in(site, group) == [SECOND_PORT]
    site.wait(1.3)
    assert streams_in(site, group) == []


@pytest.mark.parametrize("group", [G, H])
def test_without_queries_nothing_is_restricted_any_more(site: Site, group: str) -> None:
    asked(site, group)
    site.enters(made.joins(group), SECOND_PORT)
    site.wait(243)
    assert streams(site, group) == ([SECOND_PORT], [3])
    site.wait(1.3)
    assert streams(site, group) == EVERYWHERE
    asked(site, group)  # And from the beginning.
    site.wait(5)
    assert streams(site, group) == ([], [3])


def test_times_are_the_queriers(site: Site) -> None:
    asked(site, interval=20, code=10)
    site.enters(made.joins(G), SECOND_PORT)
    site.wait(29)
    assert streams(site, G) == ([SECOND_PORT], [3])
    site.wait(0.7)
    assert streams(site, G) == EVERYWHERE


def test_a_hasty_querier_makes_no_others_members_forgotten(site: Site) -> None:
    asked(site)
    site.enters(made.query(interval=1, code=1, station=9), SECOND_PORT)
    site.enters(made.joins(G), PORT)
    site.wait(20)
    assert streams_in(site, G) == [PORT]


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (G, made.leave(G)),
        (G, made.report(record(TO_IN, G))),
        (G, made.report(record(BLOCK, G, 1))),
        (H, made.mld_report(record(TO_IN, H))),
    ],
)
def test_who_leaves_is_asked_for(site: Site, group: str, said: bytes) -> None:
    asked(site, group)
    for port in (PORT, SECOND_PORT):
        site.enters(made.joins(group), port)
    assert went(site.enters(said, SECOND_PORT)) == ([], [2, 3])
    site.wait(3)
    assert streams_in(site, group) == [PORT, SECOND_PORT]
    # What is asked goes everywhere, and one of them answers.
    code = 1000 if group == H else 10
    assert went(site.arrives(QUERIES[group](group, code=code), 3)) == ([PORT, SECOND_PORT], [])
    site.enters(made.joins(group), PORT)
    site.wait(1.9)
    assert streams_in(site, group) == [PORT, SECOND_PORT]
    site.wait(0.4)
    assert streams_in(site, group) == [PORT]


def test_a_question_that_spares_timers_does(site: Site) -> None:
    asked(site)
    site.enters(made.joins(G), SECOND_PORT)
    for more in ({"flags": 10}, {"sources": 1}):
        assert went(site.enters(made.query(G, code=10, **more))) == ([SECOND_PORT], [2, 3])
    site.wait(10)
    assert streams_in(site, G) == [PORT, SECOND_PORT]  # Port 1 has a router now.


def test_groups_of_one_mac_are_joined_and_left_apart(site: Site) -> None:
    asked(site)
    site.enters(made.joins(G), PORT)
    site.enters(made.joins(G_TWIN), SECOND_PORT)
    assert streams_in(site, G) == [PORT, SECOND_PORT]
    site.arrives(made.query(G, code=10), 3)
    site.wait(2.3)
    assert streams_in(site, G) == [SECOND_PORT]


def test_a_member_that_moves_is_followed(site: Site) -> None:
    asked(site)
    site.enters(made.joins(G), SECOND_PORT)
    site.arrives(made.joins(G), 2)
    assert streams(site, G) == ([SECOND_PORT], [2, 3])
    site.wait(100)
    site.arrives(made.query(), 3)
    site.arrives(made.joins(G), 2)
    site.wait(161)
    assert streams(site, G) == ([], [2, 3])


@pytest.mark.parametrize(("group", "hello"), [(G, made.hello()), (H, made.mld_hello())])
def test_routers_without_queries_get_all(site: Site, group: str, hello: bytes) -> None:
    assert went(site.enters(hello, SECOND_PORT)) == ([PORT], [2, 3])
    assert streams(site, group) == EVERYWHERE  # A router is no querier.
    asked(site, group)
    assert streams(site, group) == ([SECOND_PORT], [3])
    assert went(site.enters(made.joins(group))) == ([SECOND_PORT], [2, 3])


def test_what_finds_no_room_goes_everywhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memberships, "MAX_GROUPS", 2)
    asked(site)
    for group in (G, "239.1.1.1"):
        site.enters(made.joins(group))
    assert streams(site, "239.9.9.9", SECOND_PORT) == ([], [3])
    site.arrives(made.joins("239.9.9.9"))
    site.arrives(made.joins(G_TWIN))
    assert streams(site, "239.9.9.9", SECOND_PORT) == ([PORT], [2, 3])
    assert streams(site, "239.7.7.7", SECOND_PORT) == ([PORT], [2, 3])
    assert streams(site, G, SECOND_PORT) == ([PORT], [2, 3])
    assert streams(site, "239.1.1.1", SECOND_PORT) == ([PORT], [3])
    assert site.feature.show(site.now)["ipv4"]["full"]
    site.wait(200)
    site.arrives(made.query(), 3)
    site.wait(61)
    assert streams(site, "239.7.7.7", SECOND_PORT) == ([], [3])
    assert not site.feature.show(site.now)["ipv4"]["full"]


def test_too_many_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memberships, "MAX_MEMBERS", 1)
    asked(site)
    site.enters(made.joins(G))
    site.enters(made.joins(G), SECOND_PORT)
    assert streams_in(site, G) == [PORT, SECOND_PORT]
    monkeypatch.setattr(memberships, "MAX_ROUTERS", 1)
    site.enters(made.hello(), SECOND_PORT)
    assert streams(site, "239.7.7.7") == EVERYWHERE


def test_a_blocked_port_gets_no_reports(site: Site) -> None:
    site.enters(made.query(), SECOND_PORT)
    site.wait(11.1)
    site.dataplane.set_blocked(SECOND_PORT, True)
    assert went(site.enters(made.joins(G))) == ([], [2, 3])


def test_show(site: Site) -> None:
    asked(site)
    site.enters(made.joins(G))
    shown = site.feature.show(site.now)
    assert shown["ipv4"] == {
        "querier": True,
        "restricting": True,
        "full": False,
        "everywhere": 0,
        "routers": {"ports": [], "vteps": ["10.254.0.3"]},
        "listeners": [{"group": G, "ports": ["port1"], "vteps": []}],
    }
    assert not shown["ipv6"]["querier"]
    assert (shown["groups"], shown["members"], shown["routers"]) == (1, 1, 1)


def test_unicast_and_malformed_frames_teach_nothing(site: Site) -> None:
    query = made.query()
    site.enters(mac(2) + query[6:])
    site.enters(made.query(ttl=9))
    site.enters(made.report(record(4, G), count=2))
    assert site.feature.show(site.now)["members"] == 0
    assert site.feature.next_deadline() is None


GROUPS = [G, G_TWIN, "239.1.1.1"]
places = st.sampled_from([1, 2, -2, -3])
"""Ports, and VTEPs below 0."""
steps = st.one_of(
    st.tuples(st.just("join"), places, st.sampled_from(GROUPS)),
    st.tuples(st.just("join"), places, st.sampled_from(GROUPS)),
    st.tuples(st.just("ask"), places, st.none()),
    st.tuples(st.just("ask for"), places, st.sampled_from(GROUPS)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 30, 120, 200]), st.none()),
)


@given(st.lists(steps, max_size=25))
def test_a_model(todo: list[tuple[str, int, str | None]]) -> None:
    """Whoever reported within the last 260 s, and was not asked since, gets all; whoever did not,
    nothing, while queries come.
    """
    site = Site(ReferenceDataPlane, Snooping)
    members: dict[tuple[str, int], int] = {}
    routers: dict[int, int] = {}
    asked_until = answered = 0
    for name, where, group in todo:
        if name == "wait":
            site.wait(where + 0.3)
        else:
            frame = made.query(group, code=10 if group else 100)
            if name == "join":
                assert group is not None
                frame = made.joins(group)
                members[group, where] = max(members.get((group, where), 0), site.now + 260 * SECOND)
            if where > 0:
                site.enters(frame, where)
            else:
                site.arrives(frame, -where)
        if name == "ask":
            if site.now >= asked_until:
                answered = site.now + 11 * SECOND
            asked_until = routers[where] = site.now + 255 * SECOND
        if name == "ask for":
            until = site.now + 250 * SECOND + SECOND // 2
            routers[where] = max(routers.get(where, 0), until)
            for key in members:
                if key[0] == group:
                    members[key] = min(members[key], site.now + 2 * SECOND)
        restricted = answered <= site.now < asked_until
        for streamed in GROUPS:
            same = (G, G_TWIN) if streamed in (G, G_TWIN) else (streamed,)
            wanted = {
                at for (heard, at), until in members.items() if heard in same and until > site.now
            }
            wanted |= {at for at, until in routers.items() if until > site.now}
            if not restricted:
                wanted = {1, 2, -2, -3}
            ports, vteps = streams(site, streamed)
            got = {*ports, *(-vtep for vtep in vteps)}
            assert got == wanted - {PORT}, (streamed, name)


def test_a_storm_of_reports_is_bounded() -> None:
    """Any number of groups from any number of places."""
    site = Site(ReferenceDataPlane, Snooping)
    feature = site.feature
    feature.handle(Local(1), made.query(), 0)
    for number in range(3000):
        group = f"239.{number >> 8}.{number & 255}.1"
        feature.handle(Local(number), made.joins(group), number)
    shown = feature.show(3000)
    assert (shown["groups"], shown["ipv4"]["full"]) == (1024, True)
    assert len(shown["ipv4"]["listeners"]) == 64

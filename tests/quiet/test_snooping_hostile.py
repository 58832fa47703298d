"""Nobody is left without a group by a query that did not reach those who listen."""

from __future__ import annotations

import pytest

from tests.dataplane.rig import PORT, VNI
from tests.quiet import group_messages as made
from tests.quiet.group_messages import BLOCK
from tests.quiet.site import SECOND_PORT, Site
from tests.quiet.test_snooping import EVERYWHERE, QUERIES, G, H, asked, streams
from tests.support.dataplanes import DataPlaneClass
from wgvx.dataplane.interface import Network
from wgvx.drops import Reason
from wgvx.quiet import igmp, mld
from wgvx.quiet.snooping import Snooping
from wgvx.vxlan.limits import Limits
from wgvx.vxlan.watch import Watch


@pytest.fixture
def site(dataplane_class: DataPlaneClass) -> Site:
    return Site(dataplane_class, Snooping)


def elsewhere(frame: bytes) -> bytes:
    """In a frame to a group that nobody listens to."""
    return frame[:5] + b"\x77" + frame[6:]


@pytest.mark.parametrize("group", [G, H])
def test_a_query_that_hosts_do_not_hear_restricts_nothing(site: Site, group: str) -> None:
    site.enters(elsewhere(QUERIES[group]()), SECOND_PORT)
    site.wait(11.1)
    assert streams(site, group) == EVERYWHERE


@pytest.mark.parametrize("group", [G, H])
def test_a_question_that_members_do_not_hear_forgets_none(site: Site, group: str) -> None:
    asked(site, group)
    site.arrives(made.joins(group), 2)
    site.enters(elsewhere(QUERIES[group](group, code=1)), SECOND_PORT)
    site.wait(5)
    assert streams(site, group) == ([], [2, 3])


def test_a_query_has_to_be_one_that_hosts_answer() -> None:
    to_a_group = made.in_ipv4(made.query()[-12:], G)
    assert igmp.parse(to_a_group) is None  # All are asked, and only some hear it.
    assert igmp.parse(made.query(options=b"")) is None
    assert igmp.parse(made.query(version=2, options=b"")) is None
    assert igmp.parse(made.query(version=2, code=0, options=b"")) is not None
    assert igmp.parse(made.query(options=b"\x01\x01\x01\x00")) is None
    assert mld.parse(made.in_ipv6(made.mld_query()[-28:], H)) is None


def limit(site: Site) -> None:
    """Multicast to a few a second, which a station has used up."""
    site.dataplane.set_network(Network(VNI, watch=Watch.GROUPS, limits=Limits(multicast=5)))
    for _ in range(6):
        site.enters(made.stream("224.0.0.251"), SECOND_PORT)


@pytest.mark.parametrize("group", [G, H])
def test_a_query_that_is_over_a_storm_limit_is_not_heard(site: Site, group: str) -> None:
    limit(site)
    assert site.enters(QUERIES[group](), SECOND_PORT) == ({}, [])
    assert site.rig.drops() == {Reason.MULTICAST_LIMIT: 2}
    site.wait(11.1)
    assert streams(site, group) == EVERYWHERE


@pytest.mark.parametrize("group", [G, H])
def test_a_question_that_is_over_a_storm_limit_forgets_nobody(site: Site, group: str) -> None:
    asked(site, group)
    site.enters(made.joins(group), PORT)
    limit(site)
    assert site.enters(QUERIES[group](group, code=1), SECOND_PORT) == ({}, [])
    site.wait(5)
    assert streams(site, group, SECOND_PORT) == ([PORT], [3])


@pytest.mark.parametrize("group", [G, H])
def test_a_querier_that_changes_its_mind_does_not_stop_asking_unnoticed(
    site: Site, group: str
) -> None:
    """The first query says that there will be one in 9 hours; after the second nobody need wait so
    long, and a member that joined then would be forgotten unasked.
    """
    asked(site, group, interval=0xFF)
    asked(site, group, interval=1)
    site.enters(made.joins(group), PORT)
    site.wait(300)
    assert streams(site, group, SECOND_PORT) == ([PORT], [2, 3])


@pytest.mark.parametrize("group", [G, H])
def test_a_flood_that_hides_a_report_leaves_nobody_without_his_group(
    site: Site, group: str
) -> None:
    """More frames than are looked at: who listens may have said so in one of the others."""
    asked(site, group)
    assert streams(site, group) == ([], [3])
    for _ in range(1000):
        site.enters(made.leave(G), SECOND_PORT)
    site.enters(made.joins(group), SECOND_PORT)
    assert streams(site, group) == EVERYWHERE
    assert streams(site, group, SECOND_PORT) == ([PORT], [2, 3])
    site.wait(10)
    site.enters(made.joins(group), SECOND_PORT)
    assert streams(site, group) == EVERYWHERE
    site.wait(90)
    asked(site, group)
    site.enters(made.joins(group), SECOND_PORT)
    site.wait(160)
    assert streams(site, group) == ([SECOND_PORT], [3])


def test_long_frames_are_looked_at_less_often(site: Site) -> None:
    """What a second's frames cost does not grow with what is in them."""
    everything = [made.record(BLOCK, G)] * 180
    burst = [site.rig.transmit(made.report(*everything)).watched for _ in range(200)]
    looked_at = sum(map(len, burst))
    assert looked_at == 1000 // 6

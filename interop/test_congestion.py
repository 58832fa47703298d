"""A router on the path that marks congestion: what knows of it arrives marked, through both
tunnels, and what does not arrives as it was. (RFC 6040 would have that dropped, for there a mark
stands for a loss; the kernel's WireGuard leaves such a packet alone, IP_ECN_set_ce(), so do we.)
"""

from __future__ import annotations

import functools

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from interop.frames import recording
from interop.matches import KERNEL, ONE, PLAYS_ALL, WGVX, Match
from interop.pair import MakeFar, make_pair
from interop.paths import join_by_router
from interop.peers import Far
from tests.netns.lab import Lab, Namespace
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

NOT_ECT, ECT_1, ECT_0, CE = range(4)
DSCP = 0xB8
# The others leave the outer field 0, and do not look at it.
MATCHES = [match for match in ONE if match.far in (KERNEL, WGVX)]
MARK = """
table inet congestion {
    chain forward {
        type filter hook forward priority mangle
        ip ecn set ce
        ip6 ecn set ce
    }
}
"""


@pytest.fixture(params=[4, 6] if PLAYS_ALL else [4])
def underlay(request: pytest.FixtureRequest) -> int:
    family: int = request.param
    return family


def _join(routers: list[Namespace], lab: Lab, *hosts: Namespace) -> None:
    routers.append(join_by_router(lab, *hosts))


def arrived(source: Far, destination: Far, tos: int) -> list[int]:
    """The TOS bytes of an echo request that was sent with ``tos``, where it came out."""
    with recording(destination.place, destination.tap, "icmp[icmptype] == icmp-echo") as got:
        options = ("-n", "-c", "1", "-W", "1", "-Q", str(tos))
        source.place.run("ping", *options, destination.address[4], check=False)
    packets = (Ether(frame) for frame in got)
    return [packet[IP].tos for packet in packets if ICMP in packet]


@pytest.mark.parametrize("match", MATCHES, ids=str, indirect=True)
def test_a_mark_is_carried_inwards(
    lab: Lab, match: Match, make_far: MakeFar, underlay: int
) -> None:
    routers: list[Namespace] = []
    join = functools.partial(_join, routers)
    pair = make_pair(lab, match, make_far, underlay=underlay, join=join)
    for a, b in pair.ways:
        assert_ping(a.place, b.address[4], count=1)
    routers[0].run("nft", "-f", "-", stdin=MARK)
    for source, destination in pair.ways:
        for sent, received in ((NOT_ECT, NOT_ECT), (ECT_0, CE), (ECT_1, CE), (CE, CE)):
            assert arrived(source, destination, DSCP | sent) == [DSCP | received]

"""What the native data plane does with a kernel: offloads, workers, AEAD libraries, refusals."""

from __future__ import annotations

import pytest

from tests.netns.lab import Lab
from tests.netns.nodes import WgvxNode, wgvx_pair
from tests.netns.test_topology import three
from tests.netns.traffic import assert_ping, copy_over_tcp
from tests.netns.vxlan_nodes import GoNode
from tests.support.dataplanes import LIBRARIES, NATIVE_MISSING, missing
from wgvx.offloads import NAMES

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(90),
    pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING),
]

BULK = 30 << 20


def assert_bulk(a: WgvxNode, b: WgvxNode | GoNode, size: int = BULK) -> None:
    """Both families, both ways, byte by byte."""
    for family in (4, 6):
        copy_over_tcp(a.host, b.host, b.address[family], size)
        copy_over_tcp(b.host, a.host, a.address[family], size)


@pytest.mark.parametrize("offloads", ["none", "tso", "gso,gro", "tso,uso,gso,gro"])
def test_offloads(lab: Lab, offloads: str) -> None:
    """Each with each other; what is switched off is off, and nothing else changes."""
    a, b = wgvx_pair(lab)
    a.start("--offload", offloads)
    b.start()
    assert_ping(a.host, b.address[4])
    assert_bulk(a, b)
    status = a.show()
    assert status["dataplane"] == "native"
    wanted = set() if offloads == "none" else set(offloads.split(","))
    assert {name for name, on in status["offloads"].items() if on} <= wanted
    assert set(status["offloads"]) == set(NAMES)
    for node in (a, b):
        lost = {reason: n for reason, n in node.show()["drops"].items() if n}
        assert set(lost) <= {"congested", "no_endpoint"}, lost
        node.stop()


@pytest.mark.parametrize("dataplane", ["native", "reference"])
def test_large_segments_arrive_whole(lab: Lab, dataplane: str) -> None:
    """The other end may be either data plane; a native one reads far fewer frames than it sends."""
    a, b = wgvx_pair(lab)
    a.start()
    b.start("--dataplane", dataplane)
    assert_ping(a.host, b.address[4])
    copy_over_tcp(a.host, b.host, b.address[4], BULK)
    statistics = a.host.ip_json("-s", "link", "show", a.tap)[0]["stats64"]["tx"]
    segments = a.network()["tx_frames"]
    assert segments > BULK // 1310
    assert statistics["packets"] < segments / 4


@pytest.mark.parametrize("workers", [2, 5])
def test_workers(lab: Lab, workers: int) -> None:
    """Several peers and flows at once, each on one queue; and a far end with one worker."""
    nodes = three(lab)
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.add_peer(other.id, underlay=4)
    for node, number in zip(nodes, (workers, workers, 1), strict=True):
        node.start("--workers", str(number))
    a, b, c = nodes
    for other in (b, c):
        assert_ping(a.host, other.address[4])
        assert_bulk(a, other, BULK // 4)
    assert_bulk(c, b, BULK // 4)
    for node in nodes:
        node.stop()


def test_a_tap_with_one_queue_serves_several_workers(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.host.ip("tuntap", "add", "dev", a.tap, "mode", "tap")
    a.keeps = {a.tap}
    a.start("--workers", "3")
    b.start("--workers", "2")
    assert_ping(a.host, b.address[4])
    assert_bulk(a, b, BULK // 4)
    a.stop()
    b.stop()


def test_a_path_too_small_for_segments(lab: Lab) -> None:
    """On a route with a smaller MTU one large send is refused with EMSGSIZE, and single datagrams
    are fragmented: so they leave one by one, to this peer alone.
    """
    a, b = wgvx_pair(lab)
    for node in (a, b):
        node.node["mtu"] = 1420
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    copy_over_tcp(a.host, b.host, b.address[4], BULK // 4)
    for node, other in ((a, b), (b, a)):
        address = other.id.address[4]
        (row,) = node.host.ip_json("route", "get", address)
        node.host.ip("route", "add", f"{address}/32", "dev", row["dev"], "mtu", "1300")
    copy_over_tcp(a.host, b.host, b.address[4], BULK // 4)
    copy_over_tcp(b.host, a.host, a.address[4], BULK // 4)
    assert a.show()["offloads"]["gso"], "it is this path's affair, not the node's"
    assert not a.drops("unreachable")
    a.stop()
    b.stop()


@pytest.mark.parametrize("aead", LIBRARIES)
def test_aead_libraries_understand_each_other(lab: Lab, aead: str) -> None:
    if missing(aead):
        pytest.skip(missing(aead))
    a, b = wgvx_pair(lab)
    a.place.env["WGVX_AEAD"] = aead
    a.start()
    b.start("--dataplane", "reference")
    assert a.show()["aead"] == aead
    assert_ping(a.host, b.address[4])
    copy_over_tcp(a.host, b.host, b.address[4], BULK // 8)
    copy_over_tcp(b.host, a.host, a.address[4], BULK // 8)


def test_a_hub_in_c(lab: Lab) -> None:
    spoke_a, hub, spoke_c = three(lab)
    hub.node["forward"] = True
    hub.networks = []
    for spoke, other in ((spoke_a, 3), (spoke_c, 1)):
        spoke.add_peer(hub.id, underlay=4)["allowed_ips"] = ["10.254.0.0/24"]
        spoke.networks[0]["remotes"] = [f"10.254.0.{other}"]
        hub.add_peer(spoke.id, underlay=None)
    for node in (hub, spoke_a, spoke_c):
        node.start()
    assert_ping(spoke_a.host, spoke_c.address[4])
    assert_bulk(spoke_a, spoke_c, BULK // 2)
    hub.stop()


def test_wireguard_go_and_kernel_vxlan(lab: Lab) -> None:
    """Its datagrams come one by one, its segments are not ours: all the same in the end."""
    hosts = lab.host("a"), lab.host("b")
    lab.lan(*hosts)
    ours, theirs = WgvxNode(hosts[0], "a", 1), GoNode(hosts[1], "b")
    theirs.start()
    theirs.add_peer(ours.id, underlay=4)
    ours.add_peer(theirs.id, underlay=4)
    ours.start()
    assert_ping(ours.host, theirs.address[4])
    assert_bulk(ours, theirs, BULK // 2)
    ours.stop()

"""Sites whose LANs are joined by a cable as well: real loops, of real bridges.

A storm is only let run for as long as it takes to see it, and is over with its cable.
"""

from __future__ import annotations

import time

import pytest

from tests.netns.lab import Lab, Namespace, eventually
from tests.netns.nodes import WgvxNode, wgvx_pair
from tests.netns.storms import BRIDGE, add_cable, add_lan, frames_a_second
from tests.netns.traffic import BROADCAST, assert_ping, frame, wires
from tests.netns.vxlan_nodes import GoNode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

STORM = 2000
"""Frames a second that no one sent."""
SOURCE = "02:00:00:00:00:77"


def sites(lab: Lab, *, detecting: int) -> tuple[WgvxNode, WgvxNode, WgvxNode]:
    """Three nodes, each with a LAN, the hosts' addresses on the LANs; so many detect loops."""
    hosts = [lab.host(label) for label in "abc"]
    lab.lan(*hosts)
    nodes = [WgvxNode(host, label, host.index) for host, label in zip(hosts, "abc", strict=True)]
    for number, node in enumerate(nodes):
        for other in nodes:
            if other is not node:
                node.add_peer(other.id, underlay=4)
        add_lan(node.host, address=f"{node.address[4]}/24")
        node.networks = [{"vni": 4200, "bridge": BRIDGE, "loop_detection": number < detecting}]
    for node in nodes:
        node.start()
    a, b, c = nodes
    for far in (a, b):
        assert_ping(c.host, far.address[4])
    return a, b, c


def begin_storm(node: WgvxNode) -> None:
    """One broadcast is enough; two, in case it is lost."""
    with wires((node.host, "cable")) as (wire,):
        for _ in range(2):
            wire.send(frame(BROADCAST, SOURCE, b"round and round"))


def is_calm(node: WgvxNode) -> bool:
    return frames_a_second(node.host, "cable", 0.3) < STORM / 10


def blocked(node: WgvxNode) -> list[dict[str, object]]:
    detection = node.network()["quiet"]["loop_detection"]
    ports: list[dict[str, object]] = detection["blocked"] if detection else []
    return ports


def assert_found(host: Namespace, address: str) -> None:
    """By whoever asks for it anew, as hosts do once it does not answer: bridges on the way learn
    nothing from a port that is blocked.
    """
    host.ip("neighbour", "flush", "dev", BRIDGE)
    assert_ping(host, address)


def all_blocked(*nodes: WgvxNode) -> list[dict[str, object]]:
    networks = (network for node in nodes for network in node.show()["networks"])
    return [port for network in networks for port in network["quiet"]["loop_detection"]["blocked"]]


def test_without_detection_it_storms(lab: Lab) -> None:
    a, b, _ = sites(lab, detecting=0)
    add_cable(a.host, b.host)
    begin_storm(a)
    eventually(lambda: frames_a_second(a.host, "cable", 0.2) > STORM, "it storms", 5)
    assert a.process is not None
    before = a.process.cpu_seconds()
    going_round = frames_a_second(a.host, "cable", 1)
    print(f"{a.process.cpu_seconds() - before:.2f} cores, {going_round:.0f} frames a second")
    assert a.show()["drops"], "the node answers meanwhile"
    a.host.ip("link", "del", "cable")
    eventually(lambda: frames_a_second(a.host, a.tap, 0.3) < STORM / 10, "it is over", 10)


def test_a_loop_between_two_nodes_is_opened_at_one(lab: Lab) -> None:
    a, b, c = sites(lab, detecting=3)
    add_cable(a.host, b.host)
    begin_storm(a)
    started = time.monotonic()
    eventually(lambda: blocked(a) or blocked(b), "one of them blocks its port", 20)
    eventually(lambda: is_calm(a), "the storm is over", 10)
    print(f"over after {time.monotonic() - started:.1f} s")
    time.sleep(8)  # The other one would have waited for less.
    assert sorted(len(blocked(node)) for node in (a, b)) == [0, 1]
    closed = a if blocked(a) else b
    (port,) = blocked(closed)
    assert port["port"] == closed.tap
    assert "a loop: what leaves by" in closed.process.stderr  # type: ignore[union-attr]
    # Everybody reaches everybody, those behind the blocked port by the cable.
    for near, far in ((c, a), (c, b), (a, b), (b, c)):
        assert_found(near.host, far.address[4])
    begin_storm(a)
    assert is_calm(a)

    a.host.ip("link", "del", "cable")
    eventually(lambda: not blocked(closed), "the port is open again", 20)
    for near, far in ((c, a), (c, b), (a, b)):
        assert_found(near.host, far.address[4])
    for node in (a, b, c):
        node.stop()


def test_a_loop_with_the_kernels_vxlan_is_opened_by_us(lab: Lab) -> None:
    hosts = lab.host("w"), lab.host("g")
    lab.lan(*hosts)
    ours, theirs = WgvxNode(hosts[0], "w", 1), GoNode(hosts[1], "g")
    for host in hosts:
        add_lan(host)
    ours.networks = [{"vni": 4200, "bridge": BRIDGE, "loop_detection": True, "mtu": 1350}]
    ours.add_peer(theirs.id, underlay=4)
    theirs.start()
    theirs.host.ip("link", "set", theirs.tap, "master", BRIDGE)
    theirs.add_peer(ours.id, underlay=4)
    ours.start()
    for host, address in zip(hosts, ("10.0.0.1", "10.0.0.2"), strict=True):
        host.ip("address", "add", f"{address}/24", "dev", BRIDGE)
    theirs.host.ip("address", "del", f"{theirs.address[4]}/24", "dev", theirs.tap)
    assert_ping(ours.host, "10.0.0.2")
    add_cable(*hosts)
    begin_storm(ours)
    eventually(lambda: blocked(ours), "we block our port", 20)
    eventually(lambda: is_calm(ours), "the storm is over", 10)
    assert_found(ours.host, "10.0.0.2")
    ours.host.ip("link", "del", "cable")
    eventually(lambda: not blocked(ours), "the port is open again", 20)
    assert_found(ours.host, "10.0.0.2")
    ours.stop()


def test_two_networks_that_join_the_same_lans(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    for node in (a, b):
        add_lan(node.host, address=f"{node.address[4]}/24")
        node.networks = [
            {"vni": vni, "tap": tap, "bridge": BRIDGE, "loop_detection": True}
            for vni, tap in ((4200, node.tap), (4201, f"{node.tap[:13]}-2"))
        ]
    for node in (a, b):
        node.start()
    eventually(lambda: all_blocked(a, b), "one port is blocked", 20)
    time.sleep(8)
    (port,) = all_blocked(a, b)
    assert port["port"] in (a.networks[1]["tap"], b.networks[1]["tap"])
    assert frames_a_second(a.host, a.tap) < STORM / 10
    assert_ping(a.host, b.address[4])


def test_a_link_that_spanning_tree_closed_is_no_loop(lab: Lab) -> None:
    a, b, _ = sites(lab, detecting=3)
    a.host.ip("link", "add", "cable", "type", "veth", "peer", "cable", "netns", b.host.name)
    a.host.ip("link", "set", "cable", "master", BRIDGE, "up")
    b.host.ip("link", "set", "cable", "up")
    up = "its carrier is seen"
    eventually(lambda: b.host.ip_json("link", "show", "cable")[0]["operstate"] == "UP", up, 5)
    # As spanning tree would have it, before a frame has passed.
    joined = f"ip link set cable master {BRIDGE} && bridge link set dev cable state 0"
    b.host.run("sh", "-c", joined)
    time.sleep(7)
    assert not blocked(a)
    assert not blocked(b)


def test_a_route_to_a_peer_through_the_overlay_is_warned_of(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    assert a.process is not None
    far = b.id.address[4]
    a.host.ip("route", "add", f"{far}/32", "via", b.address[4], "dev", a.tap)
    warning = f"the route to peer {b.name} at {far}:{b.id.port} leads into {a.tap}, our own overlay"
    process = a.process
    try:
        eventually(lambda: warning in process.stderr, "it says so")
        before = process.cpu_seconds()
        going_round = frames_a_second(a.host, a.tap, 1)
        print(f"{process.cpu_seconds() - before:.2f} cores, {going_round:.0f} frames a second")
    finally:
        a.host.ip("route", "del", f"{far}/32")
    assert_ping(a.host, b.address[4], timeout=20)
    assert process.stderr.count(warning) == 1

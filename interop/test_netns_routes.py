"""The routing cases of the kernel's own suite, over the overlay: see :mod:`interop.selftests`."""

from __future__ import annotations

import dataclasses

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from interop.changing import wg_set
from interop.copying import copy
from interop.frames import recording
from interop.matches import KERNEL, NEWEST_GO, ONE, PLAYS_ALL, Match
from interop.pair import OUTER_OVERHEAD, OVERLAY_OVERHEAD, MakeFar, Pair, make_pair
from interop.peers import CHANGEABLE, CLING, Far
from interop.wiretap import Wiretap
from tests.netns.lab import Lab, eventually
from tests.netns.nodes import (
    PORT,
    WgvxNode,
    endpoint,
    host_prefix,
    overlay_address,
    private_key,
    public_key,
    tunnel_address,
)
from tests.netns.traffic import assert_ping, ping
from tests.netns.vxlan_nodes import DaemonNode, VxlanNode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
on_one = pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
on_changeable = pytest.mark.parametrize("standing", CHANGEABLE, ids=str, indirect=True)
on_standing = pytest.mark.parametrize("standing", ONE, ids=str, indirect=True)

SECOND = {4: "192.0.2.101", 6: "2001:db8::101"}
LENGTH = {4: 24, 6: 64}
MARK = TABLE = "51820"
INNER_PORT = 51821
ODD_MTU = 1299


def beside(node: Far, label: str, index: int, tunnel_mtu: int) -> Far:
    """A node of the same kind on the same host, to be reached through the first one's overlay.

    Its tunnel is of IPv6 and its overlay another subnet, so that nothing meets the first one's.
    """
    address = dict(node.address)
    made: Far
    if isinstance(node, WgvxNode):
        made = WgvxNode(node.place, label, index, overlay=6, port=INNER_PORT, address=address)
        made.node["mtu"] = tunnel_mtu
    else:
        mtus = {"tunnel_mtu": tunnel_mtu, "mtu": tunnel_mtu - OVERLAY_OVERHEAD}
        if isinstance(node, DaemonNode):
            made = type(node)(node.host, label, overlay=6, **mtus)
            made.id = dataclasses.replace(made.id, index=index, address=address)
        else:
            made = type(node)(node.place, label, index, address=address, overlay=6, **mtus)
        made.tap = "vx1"
        made.id.port = INNER_PORT
    made.address = {family: overlay_address(index, family, subnet=1) for family in (4, 6)}
    if isinstance(made, WgvxNode):
        made.networks[0]["address"] = [f"{made.address[f]}/{LENGTH[f]}" for f in (4, 6)]
    return made


@on_one
@pytest.mark.parametrize("caller", ["ours", "theirs"] if PLAYS_ALL else ["ours"])
def test_a_tunnel_in_the_tunnel(lab: Lab, match: Match, make_far: MakeFar, caller: str) -> None:
    underlay_mtu = 1700  # for the inner tunnel to carry IPv6
    outer = make_pair(lab, match, make_far, underlay_mtu=underlay_mtu)
    assert_ping(outer.first.place, outer.second.address[4], count=1)
    overlay_mtu = underlay_mtu - OUTER_OVERHEAD - OVERLAY_OVERHEAD
    inner_mtu = overlay_mtu - OUTER_OVERHEAD
    ours = beside(outer.ours, "wi", 11, inner_mtu)
    theirs = beside(outer.theirs, "fi", 12, inner_mtu)
    first, second = (ours, theirs) if caller == "ours" else (theirs, ours)
    for node, other, underlay in ((second, first, None), (first, second, 4)):
        if isinstance(node, VxlanNode):
            node.start()
        node.add_peer(other.id, underlay=underlay)
        if isinstance(node, WgvxNode):
            node.start("--dataplane", match.dataplane)
    most = inner_mtu - OVERLAY_OVERHEAD
    for a, b in ((first, second), (second, first)):
        assert_ping(a.place, b.address[4], count=1)
        for family, header in ((4, 28), (6, 48)):
            assert ping(a.place, b.address[family], size=most - header, df=True)
            assert not ping(a.place, b.address[family], size=most - header + 1, df=True)
        copy(a.place, b.place, b.address[4], 300_000)
        assert a.endpoint(b.id) == endpoint(b.id.address[4], INNER_PORT)


def sent_by(node: Far) -> int:
    """Frames that the host has sent by the overlay."""
    return int(node.place.run("cat", f"/sys/class/net/{node.tap}/statistics/tx_packets").stdout)


@on_standing
def test_bound_to_the_overlay(standing: Pair) -> None:
    for a, b in standing.ways:
        before = sent_by(a)
        for address in b.address.values():
            command = ("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", a.tap, address)
            assert "3 received" in a.place.run(*command).stdout
        assert sent_by(a) >= before + 6


@on_standing
def test_everything_but_the_tunnel_goes_through_the_tunnel(standing: Pair) -> None:
    """As wg-quick does for a default route: where a route says more than "default" it is followed,
    what bears the mark of the tunnel's own datagrams takes the underlay's default route, and all
    the rest the overlay's, even to the far end's underlay address.
    """
    for a, b in standing.ways:
        assert_ping(a.place, b.address[4], count=1)
        ip = a.place.ip
        ip("route", "add", "default", "dev", "eth0")
        ip("route", "del", "192.0.2.0/24", "dev", "eth0")
        wg_set(a, "fwmark", MARK)
        ip("route", "add", "default", "via", b.address[4], "dev", a.tap, "table", TABLE)
        rules = (
            ("not", "fwmark", MARK, "table", TABLE),
            ("table", "main", "suppress_prefixlength", "0"),
        )
        for rule in rules:
            ip("rule", "add", *rule)
        before = sent_by(a)
        assert ping(a.place, b.id.address[4], count=5)
        assert sent_by(a) >= before + 5
        for rule in rules:
            ip("rule", "del", *rule)
        before = sent_by(a)
        assert ping(a.place, b.id.address[4], count=5)
        assert sent_by(a) < before + 5
        wg_set(a, "fwmark", "0")
        ip("route", "flush", "table", TABLE)
        ip("route", "add", "192.0.2.0/24", "dev", "eth0", "src", a.id.address[4])
        ip("route", "del", "default", "dev", "eth0")


@on_changeable
def test_a_routing_loop_ends_when_the_other_end_is_heard(standing: Pair) -> None:
    """The other end is said to be inside the very overlay that it carries.

    The kernel's suite wants no more than 70 kB sent, because WireGuard sees that the route is its
    own device. Over VXLAN nobody does: the kernel's own loops as fast as it can, and so do we,
    until the other end is heard, or ARP gives up. Afterwards all is well at once.
    """
    for a, b in standing.ways:
        assert_ping(b.place, a.address[4], count=1)
        wg_set(a, "peer", b.id.public, "endpoint", endpoint(b.address[4], 7))
        assert not ping(a.place, b.address[4])
        assert_ping(b.place, a.address[4])
        assert a.endpoint(b.id) == endpoint(b.id.address[4], PORT)
        _, before = a.transfer(b.id)
        assert ping(a.place, b.address[4], count=3)
        _, after = a.transfer(b.id)
        assert after - before < 70_000


@on_changeable
def test_a_peer_behind_a_peer_and_one_that_is_ourselves(standing: Pair) -> None:
    """Onion routing: what is for a peer whose endpoint is on the overlay goes through the tunnel of
    the other peer. And what is for one said to be at our own socket we do not take for anybody's.
    """
    for a, b in standing.ways:
        assert_ping(a.place, b.address[4], count=1)
        behind, ourselves = public_key(private_key()), public_key(private_key())
        calls = ("persistent-keepalive", "1", "endpoint")
        before = standing.ours.drops("bad_mac1")
        with recording(b.place, b.tap, "udp port 7000") as received:
            wg_set(a, "peer", behind, *calls, endpoint(b.address[4], 7000))
            wg_set(a, "peer", ourselves, *calls, endpoint(a.id.address[4], PORT))
        (initiation,) = [packet[UDP] for packet in map(Ether, received)]
        assert len(initiation.payload) == 148
        if a is standing.ours:
            assert standing.ours.drops("bad_mac1") == before + 1
        for peer in (behind, ourselves):
            wg_set(a, "peer", peer, "remove")
        assert ping(a.place, b.address[4], count=2)


BETTER_ROUTES = [
    *((match, "ours") for match in ONE),
    # Of the others only the kernel does it, and so shows how it is meant.
    *((match, "theirs") for match in ONE if match.far == KERNEL),
]


def add(node: Far, address: str) -> None:
    nodad = ("nodad",) if ":" in address else ()
    length = LENGTH[6 if ":" in address else 4]
    node.place.ip("address", "add", f"{address}/{length}", "dev", "eth0", *nodad)


@on_changeable
def test_the_source_is_where_we_were_called(standing: Pair) -> None:
    """Reply to sender: who is called at one of several addresses answers from it and keeps to it,
    until it is gone.
    """
    for a, b in standing.ways:
        if standing.match.far == NEWEST_GO and a is standing.theirs:
            continue  # It answers from wherever the route says.
        for family in (4,) if standing.match.far == NEWEST_GO else (6, 4):
            home = endpoint(a.id.address[family], PORT)
            add(a, SECOND[family])
            second = endpoint(SECOND[family], PORT)

            def called(a: Far = a, b: Far = b, second: str = second) -> bool:
                wg_set(b, "peer", a.id.public, "endpoint", second)
                return ping(b.place, a.address[4], count=2) and b.endpoint(a.id) == second

            # Whatever it says from its old address in between makes the caller go back there.
            eventually(called, f"it answers from {second}")
            assert ping(a.place, b.address[4], count=2)
            assert b.endpoint(a.id) == second
            length = LENGTH[family]
            a.place.ip("address", "del", f"{SECOND[family]}/{length}", "dev", "eth0")
            if standing.match.far in CLING and a is standing.theirs:
                wg_set(a, "listen-port", str(PORT))  # opens its sockets anew
            assert ping(a.place, b.address[4], count=2)
            assert b.endpoint(a.id) == home


@pytest.mark.parametrize(("standing", "mover"), BETTER_ROUTES, ids=str, indirect=["standing"])
def test_a_better_route_in_mid_session(standing: Pair, mover: str) -> None:
    """The source goes with the route: the old one may be of no use on the new way."""
    a, b = standing.ways[mover == "theirs"]
    assert_ping(b.place, a.address[4], count=1)
    ip = a.place.ip
    ip("link", "add", "eth1", "link", "eth0", "type", "macvlan", "mode", "bridge")
    ip("link", "set", "eth1", "up")
    ip("address", "add", f"{SECOND[4]}/32", "dev", "eth1")
    ip("route", "add", b.id.address[4], "dev", "eth1", "src", SECOND[4])
    assert ping(a.place, b.address[4], count=2)
    seen = b.endpoint(a.id)
    ip("link", "del", "eth1")
    assert_ping(a.place, b.address[4])
    assert b.endpoint(a.id) == endpoint(a.id.address[4], PORT)
    assert seen == endpoint(SECOND[4], PORT)


@on_changeable
def test_a_prefix_of_another_peer_blocks_but_the_endpoint_moves(standing: Pair) -> None:
    for mover, receiver in standing.ways:
        assert_ping(mover.place, receiver.address[4], count=1)
        vtep = host_prefix(tunnel_address(mover.id.index, mover.overlay))
        other = public_key(private_key())
        wg_set(receiver, "peer", mover.id.public, "allowed-ips", "10.254.0.0/24")
        wg_set(receiver, "peer", other, "allowed-ips", vtep)
        before = standing.ours.drops("source_not_allowed")
        wg_set(mover, "listen-port", "9999")
        assert not ping(mover.place, receiver.address[4])
        assert receiver.endpoint(mover.id) == endpoint(mover.id.address[4], 9999)
        if receiver is standing.ours:
            assert standing.ours.drops("source_not_allowed") > before
        wg_set(receiver, "peer", other, "remove")
        wg_set(receiver, "peer", mover.id.public, "allowed-ips", vtep)
        wg_set(mover, "listen-port", str(PORT))
        assert_ping(mover.place, receiver.address[4])


@on_one
def test_padding_stops_at_the_mtu_of_the_route(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """1299 bytes are no multiple of 16, and full packets are padded to no more."""
    taps: list[Wiretap] = []
    pair = make_pair(
        lab,
        match,
        make_far,
        mtus=(ODD_MTU, ODD_MTU - 50),
        prepare=lambda _: taps.append(Wiretap(*lab.hosts)),
    )
    (tap,) = taps
    if match.far == KERNEL:
        # There it may also be the route's alone.
        pair.theirs.place.ip("link", "set", pair.theirs.name, "mtu", "1420")
        route = (f"{tunnel_address(1, 4)}/32", "dev", pair.theirs.name, "mtu", str(ODD_MTU))
        pair.theirs.place.ip("route", "add", *route)
    first, second = pair.first, pair.second
    assert_ping(first.place, second.address[4], count=1)
    assert ping(first.place, second.address[4], size=ODD_MTU - 50 - 28, df=True)
    for way in tap.datagrams():
        assert max(map(len, way)) == ODD_MTU + 32
    tap.close()

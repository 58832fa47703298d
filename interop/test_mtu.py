"""How large a frame may be on underlays of every size, and what becomes of larger ones."""

from __future__ import annotations

import functools

import pytest
from scapy.layers.l2 import Ether

from interop.copying import copy
from interop.frames import recording, send_frames
from interop.matches import KERNEL, ONE, PLAYS_ALL, WGVX, Match
from interop.pair import OUTER_OVERHEAD, OVERLAY_OVERHEAD, MakeFar, Pair, make_pair
from interop.paths import join_by_router
from interop.peers import Far
from tests.netns.lab import Lab, Namespace, Place, eventually
from tests.netns.traffic import ETHERTYPE, assert_ping, mac_of, ping
from tests.netns.vxlan_nodes import IPV6_MINIMUM_MTU

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

IP_HEADER = {4: 20, 6: 40}
ICMP_HEADER = 8
UDP_AND_WIREGUARD = 8 + 32
UDP_VXLAN_AND_ETHERNET = 8 + 8 + 14
UNDERLAYS = (1280, 1420, 1500, 9000)
# (the underlay's MTU, the outer family, the tunnel's). Linux has no IPv6 on a device, so no tunnel
# of IPv6 either, below 1280.
ALL_FULL = tuple(
    (underlay_mtu, underlay, overlay)
    for underlay_mtu in UNDERLAYS
    for underlay in (4, 6)
    for overlay in (4, 6)
    if underlay_mtu > IPV6_MINIMUM_MTU or (underlay, overlay) == (4, 4)
)
FULL = ALL_FULL if PLAYS_ALL else ((1280, 4, 4), (1500, 6, 6))
WE_CALL = tuple(match for match in ONE if match.caller == "wgvx")
NOT_WGVX = tuple(match for match in ONE if match.far != WGVX)
BIG = 34_816 - 1500
"""The tunnel MTU of the kernel's own suite for devices that are much larger than the wire."""
LARGER = ((4, BIG), (6, 1600), (4, 1600))[: 3 if PLAYS_ALL else 2]
BURST = 40
"""Frames at once: not so many that a busy host, late to read them, may lose one."""


def families(overlay_mtu: int) -> tuple[int, ...]:
    """What an overlay of this MTU carries."""
    return (4, 6) if overlay_mtu >= IPV6_MINIMUM_MTU else (4,)


def count(place: Place, name: str) -> int:
    """How many datagrams a host's IP has cut (``Frag``) or put together (``Reasm``), so far."""
    rows = [line.split() for line in place.run("cat", "/proc/net/snmp").stdout.splitlines()]
    names, values = (row for row in rows if row[0] == "Ip:")
    ip6 = dict(line.split() for line in place.run("cat", "/proc/net/snmp6").stdout.splitlines())
    return int(values[names.index(name)]) + int(ip6[f"Ip6{name}"])


def assert_full_size(pair: Pair, overlay_mtu: int) -> None:
    """Frames of full size pass both ways, none is cut anywhere, and one byte more is refused."""
    # Where there is no IPv6 to chatter, nobody else makes the caller call.
    assert_ping(pair.first.place, pair.second.address[4], count=1)
    for a, b in pair.ways:
        for family in families(overlay_mtu):
            most = overlay_mtu - IP_HEADER[family] - ICMP_HEADER
            assert_ping(a.place, b.address[family], count=1)
            assert ping(a.place, b.address[family], size=most, df=True)
            assert not ping(a.place, b.address[family], size=most + 1, df=True)
    for end in (pair.ours, pair.theirs):
        assert count(end.place, "FragCreates") == 0
        assert count(end.place, "ReasmReqds") == 0


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
@pytest.mark.parametrize(("underlay_mtu", "underlay", "overlay"), FULL)
def test_an_underlay_filled_to_the_byte(
    lab: Lab, match: Match, make_far: MakeFar, underlay_mtu: int, underlay: int, overlay: int
) -> None:
    tunnel_mtu = underlay_mtu - IP_HEADER[underlay] - UDP_AND_WIREGUARD
    overlay_mtu = tunnel_mtu - IP_HEADER[overlay] - UDP_VXLAN_AND_ETHERNET
    pair = make_pair(
        lab,
        match,
        make_far,
        underlay=underlay,
        overlay=overlay,
        mtus=(tunnel_mtu, overlay_mtu),
        underlay_mtu=underlay_mtu,
    )
    assert_full_size(pair, overlay_mtu)
    # With TAPs that somebody enlarged it is the tunnel that holds the limit.
    pair.ours.place.ip("link", "set", pair.ours.tap, "mtu", str(overlay_mtu + 100))
    before = pair.ours.drops("too_big")
    most = overlay_mtu - IP_HEADER[4] - ICMP_HEADER
    assert ping(pair.ours.place, pair.theirs.address[4], size=most, df=True)
    assert not ping(pair.ours.place, pair.theirs.address[4], size=most + 1, df=True)
    assert pair.ours.drops("too_big") == before + 1


@pytest.mark.parametrize("match", WE_CALL, ids=str, indirect=True)
@pytest.mark.parametrize("underlay_mtu", UNDERLAYS if PLAYS_ALL else (1420, 9000))
def test_the_mtu_that_wgvx_works_out(
    lab: Lab, match: Match, make_far: MakeFar, underlay_mtu: int
) -> None:
    """The same as the far end is told by the documented rule, and it fits any families."""
    overlay_mtu = underlay_mtu - OUTER_OVERHEAD - OVERLAY_OVERHEAD
    pair = make_pair(lab, match, make_far, underlay_mtu=underlay_mtu)
    assert pair.ours.network()["mtu"] == overlay_mtu
    (tap,) = pair.ours.place.ip_json("link", "show", pair.ours.tap)
    (vxlan,) = pair.theirs.place.ip_json("link", "show", pair.theirs.tap)
    assert tap["mtu"] == vxlan["mtu"] == overlay_mtu
    assert_full_size(pair, overlay_mtu)


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
@pytest.mark.parametrize(("underlay", "tunnel_mtu"), LARGER)
def test_tunnels_larger_than_the_underlay(
    lab: Lab, match: Match, make_far: MakeFar, underlay: int, tunnel_mtu: int
) -> None:
    """Each end's IP cuts what its WireGuard sends, and the other end's puts it together."""
    overlay_mtu = tunnel_mtu - OVERLAY_OVERHEAD
    mtus = tunnel_mtu, overlay_mtu
    pair = make_pair(lab, match, make_far, underlay=underlay, mtus=mtus)
    for a, b in pair.ways:
        assert_ping(a.place, b.address[4], count=1)
        cut, joined = count(a.place, "FragCreates"), count(b.place, "ReasmOKs")
        for family in (4, 6):
            most = overlay_mtu - IP_HEADER[family] - ICMP_HEADER
            assert ping(a.place, b.address[family], size=most, df=True)
        assert count(a.place, "FragCreates") >= cut + 4
        assert count(b.place, "ReasmOKs") >= joined + 2
        copy(a.place, b.place, b.address[4], 500_000)
    assert pair.ours.drops("unreachable") == 0


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
@pytest.mark.parametrize("underlay", [4, 6] if PLAYS_ALL else [4])
def test_a_path_narrower_than_either_end_knows(
    lab: Lab, match: Match, make_far: MakeFar, underlay: int
) -> None:
    """DF is clear, so routers cut over IPv4; over IPv6 they tell us, and our host does it."""
    routers: list[Namespace] = []

    def join(lab: Lab, *hosts: Namespace) -> None:
        routers.append(join_by_router(lab, *hosts, mtu=1400))

    pair = make_pair(lab, match, make_far, underlay=underlay, join=join)
    (router,) = routers
    for a, b in pair.ways:
        assert_ping(a.place, b.address[4], count=1)
        most = 1350 - IP_HEADER[4] - ICMP_HEADER
        eventually(functools.partial(ping, a.place, b.address[4], size=most), "it gets through", 5)
        cut, joined = count(router, "FragCreates"), count(b.place, "ReasmOKs")
        for size in (most - 1, most):
            assert ping(a.place, b.address[4], size=size, df=True)
        assert count(b.place, "ReasmOKs") >= joined + 2
        if underlay == 4 and match.far in (KERNEL, WGVX):
            assert count(router, "FragCreates") >= cut + 4
        copy(a.place, b.place, b.address[4], 500_000)


def head(source: Far, destination: Far) -> Ether:
    """Of a frame of a type that nobody answers."""
    macs = mac_of(destination.place, destination.tap), mac_of(source.place, source.tap)
    return Ether(dst=macs[0], src=macs[1], type=ETHERTYPE)


@pytest.mark.parametrize("match", NOT_WGVX, ids=str, indirect=True)
def test_frames_that_the_far_end_cuts_inside_the_tunnel(
    lab: Lab, match: Match, make_far: MakeFar
) -> None:
    """A tunnel that shrank below its VXLAN: Linux fragments VXLAN's datagrams, and wgvx joins them.

    To make a VXLAN larger than the tunnel it names as ``dev``, Linux refuses.
    """
    pair = make_pair(lab, match, make_far)
    ours, theirs = pair.ours, pair.theirs
    assert_ping(theirs.place, ours.address[4], count=1)
    theirs.place.ip("link", "set", theirs.name, "mtu", "1300")
    start = bytes(head(theirs, ours))
    frames = [start + b"%04d" % number * 337 for number in range(BURST)]
    cut = count(theirs.place, "FragCreates")
    with recording(ours.place, ours.tap, f"ether proto {ETHERTYPE}") as received:
        send_frames(theirs.place, theirs.tap, frames)
    assert count(theirs.place, "FragCreates") == cut + 2 * BURST
    assert received.frames == frames
    assert ours.drops("fragment") == 0


@pytest.mark.parametrize("match", ONE, ids=str, indirect=True)
def test_wgvx_never_cuts_inside_the_tunnel(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """RFC 7348, 4.3: a VTEP must not fragment. The frame is dropped, and counted."""
    pair = make_pair(lab, match, make_far)
    ours, theirs = pair.ours, pair.theirs
    assert_ping(theirs.place, ours.address[4], count=1)
    ours.place.ip("link", "set", ours.tap, "mtu", "1500")
    # Tunnel packets of 1420 and 1421 bytes.
    start = bytes(head(ours, theirs))
    fits, too_large = start + bytes(1370), start + bytes(1371)
    with recording(theirs.place, theirs.tap, f"ether proto {ETHERTYPE}") as received:
        send_frames(ours.place, ours.tap, [too_large, fits, too_large])
    assert received.frames == [fits]
    assert ours.drops("too_big") == 2

"""Three sites in one Layer 2: the kernel, wgvx, and wireguard-go with the kernel's VXLAN.

Each floods to the other two; or one is the hub that the others' tunnels end at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from interop.copying import copy
from interop.matches import DATAPLANES, GO, KERNEL, PLAYS_ALL, WGVX
from interop.pair import MakeFar
from interop.peers import Far
from interop.sites import (
    add_static,
    assert_learns,
    delete,
    make_mesh,
    new_station,
    recordings,
    speak,
    vtep,
    whereabouts,
)
from tests.netns.lab import Lab
from tests.netns.nodes import FLOOD_MAC, WgvxNode
from tests.netns.traffic import BROADCAST, assert_neighbours, assert_ping, mac_of, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

# In CI each of our data planes plays a part.
STANDING, OTHERS = (DATAPLANES, DATAPLANES) if PLAYS_ALL else (DATAPLANES[:1], DATAPLANES[1:])
KILOBYTES_500 = 500_000
MULTICAST = "01:00:5e:00:00:fb"
STATION, STATION_ADDRESS = "02:57:ff:00:00:01", "10.0.0.99"


@pytest.fixture(scope="module", params=STANDING)
def dataplane(request: pytest.FixtureRequest) -> str:
    """Of the site that is ours."""
    plane: str = request.param
    return plane


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory, make_far: MakeFar, dataplane: str
) -> Iterator[list[Far]]:
    """Three that stand, for all tests that leave them as they were."""
    lab = Lab(tmp_path_factory.mktemp("sites"))
    try:
        yield make_mesh(lab, make_far, KERNEL, dataplane, GO)
    finally:
        lab.close()


def ways(sites: list[Far]) -> Iterator[tuple[Far, Far]]:
    """Each with each other one."""
    return itertools.permutations(sites, 2)


def test_all_find_each_other(sites: list[Far]) -> None:
    for a, b in ways(sites):
        assert_neighbours(a.place, a.tap, b.place, b.tap, b.address.values())
    for a, b in ways(sites):
        assert whereabouts(a, mac_of(b.place, b.tap)) == vtep(b)


def test_tcp_arrives_whole(sites: list[Far]) -> None:
    for number, (source, sink) in enumerate(ways(sites)):
        family = 6 if number % 2 else 4
        assert_ping(source.place, sink.address[family], count=1)
        copy(source.place, sink.place, sink.address[family], KILOBYTES_500)


def test_each_other_site_gets_one_copy(sites: list[Far]) -> None:
    """Of what is for all, for a group, or for somebody unknown; of the rest only its owner."""
    speakers = [new_station() for _ in sites]
    with recordings(sites) as arrived:
        # Each has heard all speakers before any of them is spoken to.
        for site, speaker in zip(sites, speakers, strict=True):
            speak(site, speaker, b"for all")
        for site, speaker in zip(sites, speakers, strict=True):
            speak(site, speaker, b"for a group", to=MULTICAST)
            speak(site, speaker, b"for a stranger", to=new_station())
            speak(site, speaker, b"for one", to=speakers[sites.index(site) - 1])
    for number, (site, received) in enumerate(zip(sites, arrived, strict=True)):
        others = {mac for mac in speakers if mac != speakers[number]}
        for payload in (b"for all", b"for a group", b"for a stranger"):
            senders = sorted(frame[6:12].hex(":") for frame in received.carrying(payload))
            assert senders == sorted(others), (site.name, payload)
        senders = [frame[6:12].hex(":") for frame in received.carrying(b"for one")]
        assert senders == [speakers[(number + 1) % 3]], site.name


def test_a_mac_moves_from_site_to_site(sites: list[Far]) -> None:
    """All that hear it follow it; its frames reach it where it spoke last."""
    station = new_station()
    for site in (*sites, *sites[:2]):
        others = [other for other in sites if other is not site]
        speak(site, station)
        for other in others:
            assert_learns(other, station, site)
    here, last = sites[0], sites[1]
    with recordings(sites) as arrived:
        speak(here, new_station(), b"to where it is", to=station)
    copies = [len(received.carrying(b"to where it is")) for received in arrived]
    assert copies == [int(site is last) for site in sites]


def test_a_site_that_comes_back(sites: list[Far]) -> None:
    """It knows nothing any more, and the others have what was: all is learned anew."""
    for site in sites:
        others = [other for other in sites if other is not site]
        station = new_station()
        speak(others[0], station)
        assert_learns(site, station, others[0])
        if isinstance(site, WgvxNode):
            plane = site.show()["dataplane"]
            site.stop()
            site.start("--dataplane", plane)
        else:
            site.restart()
        assert whereabouts(site, station) is None
        for other in others:
            # It speaks first: the others cannot know that their sessions are no more.
            for family in (4, 6):
                assert_ping(site.place, other.address[family], count=1)
                assert ping(other.place, site.address[family])
            assert_learns(other, mac_of(site.place, site.tap), site)
        speak(others[0], station)
        assert_learns(site, station, others[0])


def put_behind_a_bridge(sites: list[Far]) -> None:
    """Each site's overlay interface is a port of a bridge, which has the site's addresses."""
    for site in sites:
        ip = site.place.ip
        if not isinstance(site, WgvxNode):
            ip("address", "flush", "dev", site.tap)
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "br0", "mtu", "1350", "up")
        # What is addressed to the machine is not for the bridge to answer.
        site.place.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore")
        ip("address", "add", f"{site.address[4]}/24", "dev", "br0")
        if isinstance(site, WgvxNode):
            del site.networks[0]["address"]
            site.networks[0]["bridge"] = "br0"
        else:
            ip("link", "set", site.tap, "master", "br0")


@pytest.mark.parametrize("dataplane", OTHERS)
def test_a_machine_moves_from_site_to_site(lab: Lab, make_far: MakeFar, dataplane: str) -> None:
    """With its addresses, from bridge to bridge, as a virtual machine does."""
    sites = make_mesh(lab, make_far, KERNEL, dataplane, GO, prepare=put_behind_a_bridge)
    for site in sites:
        site.place.ip("link", "add", "machine", "type", "veth", "peer", "port")
        site.place.ip("link", "set", "port", "master", "br0", "up")
    for site in (*sites, sites[0]):
        others = [other for other in sites if other is not site]
        ip, own = site.place.ip, f"{site.address[4]}/24"
        # A machine has one interface in a subnet: here, until it leaves, that is not the bridge.
        ip("address", "del", own, "dev", "br0")
        ip("link", "set", "machine", "address", STATION, "up")
        ip("address", "add", f"{STATION_ADDRESS}/24", "dev", "machine")
        for other in others:
            assert ping(site.place, other.address[4]), (site.name, other.name)
            assert_learns(other, STATION, site)
            assert_ping(other.place, STATION_ADDRESS, count=1)
        ip("link", "set", "machine", "down")
        ip("address", "flush", "dev", "machine")
        ip("address", "add", own, "dev", "br0")


def lead_through(spoke: Far, hub: Far, other: Far) -> None:
    """A spoke that finds the other spoke behind the hub, and floods to it alone."""
    if isinstance(spoke, WgvxNode):
        spoke.add_peer(hub.id, underlay=4)["allowed_ips"] = ["10.254.0.0/24"]
        spoke.networks[0]["remotes"] = [vtep(other)]
        return
    spoke.add_peer(hub.id, underlay=4)
    spoke.wg("set", spoke.name, "peer", hub.id.public, "allowed-ips", "10.254.0.0/24")
    delete(spoke, FLOOD_MAC, vtep(hub))
    add_static(spoke, FLOOD_MAC, vtep(other))


def assert_spokes_meet(a: Far, b: Far) -> None:
    """They have one Layer 2, and each knows the other by its own address, not by the hub's."""
    for here, there in ((a, b), (b, a)):
        assert_neighbours(here.place, here.tap, there.place, there.tap, there.address.values())
        assert whereabouts(here, mac_of(there.place, there.tap)) == vtep(there)
        copy(here.place, there.place, there.address[4], KILOBYTES_500)
        # Full size: nothing is cut on either leg.
        assert ping(here.place, there.address[4], size=1350 - 28, df=True)
        with recordings([there]) as (arrived,):
            speak(here, new_station(), b"once", to=BROADCAST)
        assert len(arrived.carrying(b"once")) == 1


@pytest.mark.parametrize("dataplane", OTHERS)
def test_wgvx_is_the_hub(lab: Lab, make_far: MakeFar, dataplane: str) -> None:
    hosts = [lab.host(label) for label in "khg"]
    lab.lan(*hosts)
    kernel, go = make_far(KERNEL, hosts[0], "k"), make_far(GO, hosts[2], "g")
    hub = WgvxNode(hosts[1], "h", hosts[1].index)
    hub.node["forward"] = True
    hub.networks = []
    for spoke in (kernel, go):
        assert not isinstance(spoke, WgvxNode)
        hub.add_peer(spoke.id, underlay=None)
        spoke.start()
    hub.start("--dataplane", dataplane)
    for spoke, other in ((kernel, go), (go, kernel)):
        lead_through(spoke, hub, other)
        # The hub knows nobody's endpoint: both have to call.
        assert_ping(spoke.place, vtep(hub), count=1)
    before = hub.show()["drops"]
    assert_spokes_meet(kernel, go)
    assert hub.show()["drops"] == before


def test_the_kernel_is_the_hub(lab: Lab, make_far: MakeFar) -> None:
    hosts = [lab.host(label) for label in "nkr"]
    lab.lan(*hosts)
    native, reference = (make_far(WGVX, host, host.name[-1]) for host in (hosts[0], hosts[2]))
    hub = make_far(KERNEL, hosts[1], "k")
    assert not isinstance(hub, WgvxNode)
    hub.start()
    hub.place.ip("link", "set", hub.tap, "down")
    hub.place.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    for spoke, other in ((native, reference), (reference, native)):
        assert isinstance(spoke, WgvxNode)
        lead_through(spoke, hub, other)
        hub.add_peer(spoke.id, underlay=4)
    for spoke, plane in ((native, "native"), (reference, "reference")):
        assert isinstance(spoke, WgvxNode)
        spoke.start("--dataplane", plane)
    assert_spokes_meet(native, reference)
    for spoke in (native, reference):
        assert isinstance(spoke, WgvxNode)
        assert vtep(hub) not in {row["vtep"] for row in spoke.fdb()}

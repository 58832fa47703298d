"""A VM on the overlay by its socket alone: a real QEMU, and a node with no TAP and no privilege."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from interop.copying import copy
from interop.kernel.guest import Guest, GuestNamespace
from interop.kernel.packages import obstacle
from tests.netns.lab import Lab, Place
from tests.netns.nodes import VNI, WgvxNode, overlay_address
from tests.netns.ordinary import OrdinaryUser
from tests.netns.traffic import assert_ping, mac_of

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

FAR = "QEMU"
MTU = "1350"
SIZE = 3_000_000


@dataclass
class Site:
    """`node` has two sockets for VMs and nothing else; `other` a TAP on another host."""

    node: WgvxNode
    other: WgvxNode
    guest: Guest
    stream: GuestNamespace
    dgram: GuestNamespace


@pytest.fixture(
    scope="module", params=["native", pytest.param("reference", marks=pytest.mark.nightly)]
)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    if reason := obstacle():
        pytest.skip(reason)
    with closing(Lab(tmp_path_factory.mktemp("vm"))) as lab:
        hosts = lab.host("a"), lab.host("b")
        lab.lan(*hosts, mtu=1500)
        user = OrdinaryUser(lab, hosts[0])
        address = {4: hosts[0].address(4), 6: hosts[0].address(6)}
        node = WgvxNode(user, "a", 1, address=address)
        other = WgvxNode(hosts[1], "b", 2)
        node.add_peer(other.id, underlay=4)
        other.add_peer(node.id, underlay=4)
        qemu, ours, theirs = (str(user.folder / name) for name in ("qemu", "ours", "theirs"))
        node.networks = [
            {
                "vni": VNI,
                "attach": [
                    {"type": "stream", "name": "vm1", "connect": qemu},
                    {"type": "dgram", "name": "vm2", "local": ours, "remote": theirs},
                ],
            }
        ]
        other.start()
        node.start("--dataplane", request.param)
        guest = Guest(
            user,
            sockets=[
                f"stream,server=on,addr.type=unix,addr.path={qemu}",
                f"dgram,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}",
            ],
        )
        guest.ready()
        yield Site(node, other, guest, _put(guest, "eth0", 11), _put(guest, "eth1", 12))


def _put(guest: Guest, interface: str, number: int) -> GuestNamespace:
    """An interface of the guest as a station of its own."""
    place = guest.namespace(f"vm{number}")
    guest.ip("link", "set", interface, "netns", place.name)
    place.ip("link", "set", interface, "mtu", MTU, "up")
    place.ip("address", "add", f"{overlay_address(number, 4)}/24", "dev", interface)
    place.ip("address", "add", f"{overlay_address(number, 6)}/64", "dev", interface)
    return place


def everybody(site: Site) -> tuple[tuple[Place, int], ...]:
    return (site.stream, 11), (site.dgram, 12), (site.other.place, 2)


@pytest.mark.parametrize("family", [4, 6])
def test_all_reach_each_other(site: Site, family: int) -> None:
    for place, own in everybody(site):
        for _, number in everybody(site):
            if number != own:
                assert_ping(place, overlay_address(number, family))


def test_bytes_arrive_as_they_were_sent(site: Site) -> None:
    address = overlay_address(2, 4)
    for vm, number in ((site.stream, 11), (site.dgram, 12)):
        copy(vm, site.other.place, address, SIZE)
        copy(site.other.place, vm, overlay_address(number, 4), SIZE)


def test_the_node_knows_which_vm_is_where(site: Site) -> None:
    assert_ping(site.stream, overlay_address(12, 4))
    network = site.node.network()
    told = [(port["type"], port["name"]) for port in network["attach"]]
    assert told == [("stream", "vm1"), ("dgram", "vm2")]
    assert network["down"] == []
    for place, interface, port in ((site.stream, "eth0", "vm1"), (site.dgram, "eth1", "vm2")):
        row = site.node.lookup(mac_of(place, interface))
        assert row is not None
        assert (row["port"], row["vtep"], row["state"]) == (port, None, "local")


def test_a_node_that_starts_anew_finds_its_vms(site: Site) -> None:
    assert_ping(site.stream, overlay_address(2, 4))
    dataplane = site.node.show()["dataplane"]
    site.node.stop()
    site.node.start("--dataplane", dataplane)
    assert_ping(site.stream, overlay_address(2, 4), timeout=20)
    assert_ping(site.dgram, overlay_address(2, 4), timeout=20)
    assert_ping(site.other.place, overlay_address(11, 4))

"""Who is whose peer, what lies behind each, and how large a frame may be."""

from __future__ import annotations

import itertools
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.fleet.plans import FLEET, HUBS, MESH, TENANT, TWO_HUBS, fleet, nodes, site
from wgvx.fleet.advice import warnings
from wgvx.fleet.nodes import Node
from wgvx.fleet.paths import paths

SIX = (
    HUBS
    + "".join(site(f"h{hub}", "hub = true", at=hub) for hub in (1, 2, 3))
    + "".join(site(f"s{spoke}") for spoke in range(9))
    + TENANT
)


def leads_to(node: Node, address: str) -> str | None:
    """The peer that cryptokey routing chooses: the longest prefix."""
    found = [
        (ip_network(prefix).prefixlen, peer.name)
        for peer in node.peers
        for prefix in peer.allowed_ips
        if ip_address(address) in ip_network(prefix)
    ]
    return max(found)[1] if found else None


@pytest.mark.parametrize("text", [MESH, TWO_HUBS, SIX])
@pytest.mark.parametrize("tunnel", ["10.254.0.0/16", "fd00:fe::/64"])
def test_every_packet_arrives_the_way_that_its_answer_goes(
    text: str, tunnel: str, tmp_path: Path
) -> None:
    """Followed hop by hop: nobody has two ways to an address, and each hop takes a packet only from
    the peer to which its source leads back."""
    text = text.replace("10.254.0.0/16", tunnel)
    found = nodes(tmp_path, text)
    links = fleet(tmp_path, text).links
    for a, b in itertools.permutations(found, 2):
        hops = [a]
        while hops[-1] != b:
            after = leads_to(found[hops[-1]], found[b].vtep)
            assert after is not None
            assert leads_to(found[after], found[a].vtep) == hops[-1]
            if after != b:
                assert found[after].forward
            hops.append(after)
            assert len(hops) <= 4
        assert tuple(hops) == links.route(a, b)


@pytest.mark.parametrize("text", [MESH, SIX])
def test_both_ends_know_each_other(text: str, tmp_path: Path) -> None:
    found = nodes(tmp_path, text)
    for name, node in found.items():
        for peer in node.peers:
            (back,) = (one for one in found[peer.name].peers if one.name == name)
            assert peer.public_key == found[peer.name].public_key
            assert peer.preshared_key == back.preshared_key is not None
            # One of the two can call.
            assert peer.endpoint or back.endpoint
    keys = {node.private_key for node in found.values()}
    psks = {peer.preshared_key for node in found.values() for peer in node.peers}
    assert len(keys) == len(found)
    assert len(psks) == sum(len(node.peers) for node in found.values()) / 2


def test_a_mesh(tmp_path: Path) -> None:
    found = nodes(tmp_path, MESH + 'sites = ["a", "c"]\n')
    a, b, c = found["a"], found["b"], found["c"]
    assert [(peer.name, peer.allowed_ips) for peer in a.peers] == [
        ("b", ("10.254.0.2/32",)),
        ("c", ("10.254.0.3/32",)),
    ]
    assert (a.peers[0].endpoint, a.peers[1].endpoint) == ("192.0.2.2:51820", None)
    # Only who is behind NAT has to keep itself within reach.
    assert [peer.keepalive for peer in (*a.peers, *b.peers)] == [0] * 4
    assert [peer.keepalive for peer in c.peers] == [25] * 2
    assert not any(node.forward for node in found.values())
    # The tenant is where it is, and hears nobody else.
    assert b.networks == ()
    (network,) = a.networks
    assert network.addresses == ("10.0.0.1/24",)
    assert network.remotes == ("10.254.0.3",)
    assert network.accept == ("10.254.0.1/32", "10.254.0.3/32")


def test_hubs(tmp_path: Path) -> None:
    found = nodes(tmp_path, TWO_HUBS)
    h1, h2, s1 = found["h1"], found["h2"], found["s1"]
    assert [peer.name for peer in h1.peers] == ["h2", "s1", "s3"]
    assert {peer.name: peer.allowed_ips for peer in h2.peers} == {
        "h1": ("10.254.0.1/32", "10.254.0.3/32", "10.254.0.5/32"),
        "s2": ("10.254.0.4/32",),
    }
    assert [(peer.name, peer.allowed_ips) for peer in s1.peers] == [("h1", ("10.254.0.0/16",))]
    assert (h1.forward, h2.forward, s1.forward) == (True, True, False)
    (network,) = s1.networks
    assert len(network.remotes) == 4


NARROW = (
    FLEET
    + site("a", "underlay_mtu = 9000", at=1)
    + site("b", "underlay_mtu = 9000", at=2)
    + site("c", "underlay_mtu = 1400", at=3)
    + TENANT
    + 'sites = ["a", "b"]\n'
    + TENANT.replace("blue", "red").replace("4200", "1").replace("10.0.0", "10.0.1")
)


def test_a_narrow_path_binds_those_who_use_it(tmp_path: Path) -> None:
    found = nodes(tmp_path, NARROW)
    blue, red = found["a"].networks
    assert (blue.mtu, red.mtu) == (8850, 1250)
    assert (found["a"].mtu, found["c"].mtu) == (8920, 1320)


def test_a_hub_between_counts(tmp_path: Path) -> None:
    """Also one that is not in the tenant: its tunnels carry it."""
    text = TWO_HUBS.replace('name = "h1"', 'name = "h1"\nunderlay_mtu = 1400')
    there = fleet(tmp_path, text + 'sites = ["s1", "s2"]\n')
    assert there.rooms["blue"].overlay == 1250
    assert there.tunnel_mtus["h1"] == there.tunnel_mtus["h2"] == 1320
    (path,) = paths(there.links, there.plan.tenants["blue"])
    assert path.sites == ("s1", "h1", "h2", "s2")
    assert (path.underlay, path.tunnel, path.overlay) == (1400, 1320, 1250)
    elsewhere = fleet(tmp_path, text + 'sites = ["s2", "h2"]\n')
    assert elsewhere.rooms["blue"].overlay == 1350


def test_what_is_hardly_meant(tmp_path: Path) -> None:
    assert list(warnings(fleet(tmp_path, MESH))) == []
    said = "\n".join(warnings(fleet(tmp_path, NARROW + 'sites = ["c"]\n')))
    assert 'tenant "red": it has 1 sites' in said
    assert 'tenant "red": its overlay MTU is 1250, below 1280' in said
    assert "nobody can call" in "".join(
        warnings(fleet(tmp_path, FLEET + site("a") + site("b") + TENANT + 'sites = ["a"]\n'))
    )


def test_the_kernel_is_not_quiet(tmp_path: Path) -> None:
    plan = FLEET + site("a", at=1) + site("b", 'kind = "kernel"', at=2) + TENANT
    assert list(warnings(fleet(tmp_path, plan + "sticky = false\n"))) == []
    (said,) = warnings(fleet(tmp_path, plan + "suppress = true\nmove_limit = 5\n"))
    assert said == (
        'tenant "blue": move_limit 5, suppress is for nodes that run wgvx; '
        "the kernel's VXLAN has none of it: b"
    )

"""More than two nodes: a full mesh, and spokes round a hub."""

from __future__ import annotations

import itertools

import pytest

from tests.netns.lab import Lab
from tests.netns.nodes import WgvxNode, tunnel_address
from tests.netns.traffic import (
    BROADCAST,
    assert_neighbours,
    assert_ping,
    frame,
    mac_of,
    ping,
    wires,
)

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def three(lab: Lab, overlay: int = 4) -> list[WgvxNode]:
    hosts = [lab.host(label) for label in "abc"]
    lab.lan(*hosts)
    return [
        WgvxNode(host, label, host.index, overlay=overlay)
        for host, label in zip(hosts, "abc", strict=True)
    ]


def test_mesh(lab: Lab) -> None:
    nodes = three(lab)
    for node, other in itertools.permutations(nodes, 2):
        node.add_peer(other.id, underlay=4)
    for node in nodes:
        node.start()
    for node, other in itertools.permutations(nodes, 2):
        assert_ping(node.host, other.address[4])
        learned = node.lookup(mac_of(other.host, other.tap))
        assert learned is not None
        assert learned["vtep"] == tunnel_address(other.id.index, 4)

    taps = [(node.host, node.tap) for node in nodes]
    with wires(*taps) as opened:
        for node, sender in zip(nodes, opened, strict=True):
            # Broadcast reaches each of the others once and goes no further: no loop. A frame to
            # a MAC that is known is for its owner alone.
            owner = nodes[nodes.index(node) - 1]
            own_mac, known = mac_of(node.host, node.tap), mac_of(owner.host, owner.tap)
            sender.send(frame(BROADCAST, own_mac, b"from %s to all" % node.name.encode()))
            sender.send(frame(known, own_mac, b"from %s to one" % node.name.encode()))
            for receiver, wire in zip(nodes, opened, strict=True):
                copies = wire.received(b"from %s" % node.name.encode())
                to_all, to_one = ([c for c in copies if to in c] for to in (b"to all", b"to one"))
                assert len(to_all) == (receiver is not node)
                assert len(to_one) == (receiver is owner)
    for node in nodes:
        node.stop()


@pytest.mark.parametrize("overlay", [4, 6])
def test_hub_relays(lab: Lab, overlay: int) -> None:
    spoke_a, hub, spoke_c = _spokes_and_hub(lab, overlay, forward=True)
    assert_neighbours(
        spoke_a.host, spoke_a.tap, spoke_c.host, spoke_c.tap, spoke_c.address.values()
    )
    learned = spoke_a.lookup(mac_of(spoke_c.host, spoke_c.tap))
    assert learned is not None
    assert learned["vtep"] == tunnel_address(3, overlay)
    assert all(peer["rx_bytes"] and peer["tx_bytes"] for peer in hub.show()["peers"])
    for node in (spoke_a, hub, spoke_c):
        node.stop()


def test_without_forward_nothing_is_relayed(lab: Lab) -> None:
    spoke_a, hub, spoke_c = _spokes_and_hub(lab, 4, forward=False)
    assert not ping(spoke_a.host, spoke_c.address[4], count=3)
    assert spoke_c.lookup(mac_of(spoke_a.host, spoke_a.tap)) is None
    # It was the hub that kept it: the tunnels to it are up.
    assert all(peer["latest_handshake"] for peer in hub.show()["peers"])


def _spokes_and_hub(
    lab: Lab, overlay: int, *, forward: bool
) -> tuple[WgvxNode, WgvxNode, WgvxNode]:
    """Spokes 1 and 3 know the hub 2 alone; the hub has no network and waits to be called."""
    spoke_a, hub, spoke_c = three(lab, overlay)
    hub.node["forward"] = forward
    hub.networks = []
    everyone = "10.254.0.0/24" if overlay == 4 else "fd00:fe::/64"
    for spoke, other in ((spoke_a, spoke_c), (spoke_c, spoke_a)):
        spoke.add_peer(hub.id, underlay=4)["allowed_ips"] = [everyone]
        spoke.networks[0]["remotes"] = [tunnel_address(other.id.index, overlay)]
        hub.add_peer(spoke.id, underlay=None)
    hub.start()
    spoke_a.start()
    spoke_c.start()
    return spoke_a, hub, spoke_c

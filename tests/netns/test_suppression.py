"""ARP and neighbour suppression between real nodes: who is asked, and who is answered for."""

from __future__ import annotations

import itertools

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WgvxNode, wgvx_three
from tests.netns.test_wireguard_go import wgvx_and_go
from tests.netns.traffic import (
    Wire,
    assert_neighbours,
    assert_ping,
    mac_bytes,
    mac_of,
    ping,
    wires,
)

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

ARP, IPV6 = 0x0806, 0x86DD


def three(lab: Lab, **settings: object) -> tuple[WgvxNode, WgvxNode, WgvxNode]:
    """The first has these settings; the others are ordinary."""
    nodes = a, b, c = wgvx_three(lab)
    a.networks[0].update(settings)
    for node in nodes:
        node.start()
    for family, other in itertools.product((4, 6), (b, c)):
        assert_ping(a.host, other.address[family])
    return a, b, c


def ask(node: WgvxNode, address: str) -> bool:
    """From an empty cache."""
    node.host.ip("neighbour", "flush", "dev", node.tap)
    return ping(node.host, address)


def requests(wire: Wire, node: WgvxNode, wait: float = 0.3) -> int:
    """Broadcast ones of the node's own station."""
    mac = mac_bytes(mac_of(node.host, node.tap))
    return len(wire.received(b"\xff" * 6 + mac, wait, ARP))


def solicitations(wire: Wire, node: WgvxNode, wait: float = 0.3) -> int:
    """The same for IPv6, to the group of whom it asks for."""
    mac = mac_bytes(mac_of(node.host, node.tap))
    frames = wire.received(mac, wait, IPV6)
    return sum(one[:3] == b"\x33\x33\xff" and one[54] == 135 for one in frames)


@pytest.mark.parametrize("suppress", [True, False])
def test_others_are_not_asked(lab: Lab, suppress: bool) -> None:
    a, b, c = three(lab, suppress=suppress)
    # Whoever asks for the first time is to be heard by all.
    for family in (4, 6):
        assert ask(a, b.address[family])
    with wires((c.host, c.tap), (c.host, c.tap)) as (arps, solicits):
        for _ in range(5):
            for family in (4, 6):
                assert ask(a, b.address[family])
        asked = requests(arps, a), solicitations(solicits, a)
    assert_neighbours(a.host, a.tap, b.host, b.tap, b.address.values())
    assert all(count == 0 if suppress else count >= 5 for count in asked), asked
    if suppress:
        assert a.network()["quiet"]["suppress"]["answered"] >= 10
        assert "suppress" in a.wgvx("show", a.name).stdout


def test_who_is_gone_is_noticed(lab: Lab) -> None:
    a, b, c = three(lab, suppress=True, ageing=6)
    assert ask(a, b.address[4])
    b.host.ip("link", "set", b.tap, "down")
    with wires((c.host, c.tap)) as (wire,):

        def is_asked_for() -> bool:
            assert not ask(a, b.address[4])
            return requests(wire, a, 0.1) > 0

        eventually(is_asked_for, "all are asked for him again", 30)


def test_an_address_that_moves_is_found_where_it_is(lab: Lab) -> None:
    a, b, c = three(lab, suppress=True)
    assert ask(a, b.address[4])
    b.host.ip("address", "delete", f"{b.address[4]}/24", "dev", b.tap)
    c.host.ip("address", "add", f"{b.address[4]}/32", "dev", c.tap)
    # As a host does that takes an address over: what it asks, it asks with that.
    c.host.ip("neighbour", "flush", "dev", c.tap)
    c.host.run("ping", "-n", "-c", "1", "-W", "2", "-I", b.address[4], a.address[4])
    assert_ping(a.host, b.address[4])
    a.host.ip("neighbour", "flush", "dev", a.tap)
    assert_neighbours(a.host, a.tap, c.host, c.tap, [b.address[4]])


def test_two_with_one_address_find_out(lab: Lab) -> None:
    a, b, _ = three(lab, suppress=True)
    assert ask(a, b.address[6])
    a.host.sysctl(f"net/ipv6/conf/{a.tap}/accept_dad", "1")
    a.host.ip("address", "add", f"{b.address[6]}/64", "dev", a.tap)

    def has_failed() -> bool:
        (link,) = a.host.ip_json("address", "show", "dev", a.tap)
        return any(
            one["local"] == b.address[6] and one.get("dadfailed") for one in link["addr_info"]
        )

    eventually(has_failed, "duplicate address detection finds it")


def test_a_kernel_far_away_is_answered_for(lab: Lab) -> None:
    ours, theirs = wgvx_and_go(lab, caller="wgvx")
    ours.networks[0]["suppress"] = True
    ours.write()
    ours.wgvx("reload", ours.name)
    for _ in range(2):
        for family in (4, 6):
            assert_ping(ours.host, theirs.address[family])
            assert ask(ours, theirs.address[family])
    with wires((theirs.host, theirs.tap), (theirs.host, theirs.tap)) as (arps, solicits):
        for _ in range(3):
            for family in (4, 6):
                assert ask(ours, theirs.address[family])
        assert (requests(arps, ours), solicitations(solicits, ours)) == (0, 0)
    ends = (ours.host, ours.tap, theirs.host, theirs.tap)
    assert_neighbours(*ends, theirs.address.values())
    assert ours.network()["quiet"]["suppress"]["answered"] >= 6

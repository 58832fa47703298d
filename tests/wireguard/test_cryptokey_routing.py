"""An inner source must lead back to the very peer that sent it, by the longest prefix."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.support.engines import SECOND, Node, Wire, ethernet, peer_config, underlay_endpoint
from tests.wireguard.insides import moved
from tests.wireguard.speaker import Speaker
from wgvx.drops import Reason
from wgvx.wireguard.keypair import Keypair

WIDE, NARROW = 2, 3


@pytest.fixture
def node() -> Node:
    """Peer 2 has all of 10/8 and 2001:db8::/32, peer 3 a part of each."""
    wire = Wire()
    return wire.add(
        1,
        [
            peer_config(WIDE, allowed_ips=["10.0.0.0/8", "2001:db8::/32"]),
            peer_config(NARROW, allowed_ips=["10.1.0.0/16", "2001:db8:1::/48", "10.254.0.9/32"]),
        ],
    )


def session(node: Node, number: int) -> Keypair:
    """A session of the peer with the node."""
    speaker = Speaker(number, node)
    node.wire.now += SECOND
    message = speaker.initiation(node.wire.unix_now())
    [answer] = node.hear(message, underlay_endpoint(number)).datagrams
    return speaker.answered(answer.data, node.wire.now)


def packet(source: str) -> bytes:
    """A packet to an address that is neither ours nor relayed to: it can only get as far as
    NO_ROUTE, which comes after the source check.
    """
    packed = ip_address(source).packed
    if len(packed) == 4:
        return bytes([0x45, 0, 0, 20]) + bytes(8) + packed + bytes([192, 0, 2, 1])
    return b"\x60" + bytes(7) + packed + bytes(16)


@pytest.mark.parametrize(
    ("number", "source", "allowed"),
    [
        (WIDE, "10.2.0.1", True),
        (WIDE, "10.1.0.1", False),
        (WIDE, "10.254.0.9", False),
        (WIDE, "11.0.0.1", False),
        (WIDE, "2001:db8:2::1", True),
        (WIDE, "2001:db8:1::1", False),
        (WIDE, "2001:db9::1", False),
        (NARROW, "10.1.255.255", True),
        (NARROW, "10.254.0.9", True),
        (NARROW, "10.2.0.1", False),
        (NARROW, "10.254.0.8", False),
        (NARROW, "2001:db8:1::1", True),
        (NARROW, "2001:db8:2::1", False),
        (NARROW, "::ffff:10.1.0.1", False),
    ],
)
def test_the_source_check(node: Node, number: int, source: str, allowed: bool) -> None:
    keypair = session(node, number)
    node.hear(keypair.seal(packet(source)), underlay_endpoint(number))
    wanted = Reason.NO_ROUTE if allowed else Reason.SOURCE_NOT_ALLOWED
    assert node.drops() == {wanted: 1}


def test_a_prefix_that_moves_takes_the_right_to_speak_along(node: Node) -> None:
    wide, narrow = session(node, WIDE), session(node, NARROW)

    def refusal(keypair: Keypair, number: int) -> Reason:
        before = node.drops()
        node.hear(keypair.seal(packet("10.1.0.1")), underlay_endpoint(number))
        [reason] = moved(before, node.drops())
        return reason

    assert refusal(narrow, NARROW) is Reason.NO_ROUTE
    prefix = bytes([10, 1, 0, 0]), 16
    node.engine.dataplane.add_allowed_ip(1, prefix)
    assert refusal(narrow, NARROW) is Reason.SOURCE_NOT_ALLOWED
    assert refusal(wide, WIDE) is Reason.NO_ROUTE
    assert node.engine.dataplane.remove_allowed_ip(1, prefix)
    assert refusal(wide, WIDE) is Reason.NO_ROUTE, "10/8 is still there"


def test_what_is_sent_takes_the_longest_prefix(node: Node) -> None:
    for number in (WIDE, NARROW):
        session(node, number)
    vteps = {"10.2.0.1": WIDE, "10.1.0.1": NARROW, "10.254.0.9": NARROW, "10.254.0.8": WIDE}
    for vtep, number in vteps.items():
        mac = bytes([2, 9, *ip_address(vtep).packed])
        node.engine.dataplane.fdb_add(42, mac, ip_address(vtep).packed)
        node.wire.now += 6 * SECOND
        frame = ethernet(mac, node.mac)
        [sent] = node.engine.transmit(node.port, [frame], node.wire.now).datagrams
        assert sent.endpoint == underlay_endpoint(number)


def test_no_prefix_no_route_and_no_endpoint_no_packet(node: Node) -> None:
    for vtep in ("11.0.0.1", "10.2.0.1"):
        mac = bytes([2, 9, *ip_address(vtep).packed])
        node.engine.dataplane.fdb_add(42, mac, ip_address(vtep).packed)
        burst = node.engine.transmit(node.port, [ethernet(mac, node.mac)], node.wire.now)
        assert burst.datagrams == []
    assert node.drops() == {Reason.NO_ROUTE: 1, Reason.NO_ENDPOINT: 1}

"""A hub relays tunnel packets between its peers, as a router does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.rig import (
    MTU,
    PORT,
    US,
    VNI,
    Rig,
    carrying,
    frame_to,
    packet,
    tunnel,
)
from tests.vxlan.packets import address, ipv4, ipv6, naive_checksum
from wgvx.drops import Reason
from wgvx.wireguard.sessions import Event

FRAME = frame_to(3)


@pytest.mark.parametrize("length", [0, 1, 7, 300])
def test_ttl_is_one_less_and_the_rest_is_as_it_was(hub: Rig, length: int) -> None:
    sent = packet(bytes(length), 99, destination=3, ttl=9, identification=77, tos=0xB8)
    ((peer, plaintext),) = hub.opened(hub.receive(sent))
    assert peer == 3
    relayed = plaintext[: len(sent)]
    assert relayed == packet(bytes(length), 99, destination=3, ttl=8, identification=77, tos=0xB8)
    assert plaintext[len(sent) :] == bytes(-len(sent) % 16)
    assert hub.drops() == {}


@pytest.mark.parametrize("length", [0, 5, 300])
def test_hop_limit_is_one_less(hub: Rig, length: int) -> None:
    sent = packet(bytes(length), 99, destination=3, family=6, hop_limit=2)
    ((peer, plaintext),) = hub.opened(hub.receive(sent))
    assert peer == 3
    assert plaintext[: len(sent)] == packet(bytes(length), 99, destination=3, family=6, hop_limit=1)


@pytest.mark.parametrize("ttl", [2, 64, 255])
def test_the_checksum_is_right_whatever_it_was(hub: Rig, ttl: int) -> None:
    checksums = set()
    for identification in range(0, 0x10000, 0x40):
        sent = packet(b"x", 99, destination=3, ttl=ttl, identification=identification)
        ((_, plaintext),) = hub.opened(hub.receive(sent))
        assert naive_checksum(plaintext[:20]) == 0
        checksums.add(sent[10])
    assert len(checksums) == 256  # with a carry as without


def test_options_and_fragments_pass_as_they_are(hub: Rig) -> None:
    """Nothing above IP is looked into: whoever the packet is for does that."""
    for plaintext in (
        packet(b"payload!", destination=3, options=b"\x94\4\0\0"),
        packet(b"payload!", destination=3, flags=0x2000),
        packet(b"payload", destination=3, flags=0x0007),
        packet(b"not VXLAN", 6, destination=3),
    ):
        ((_, relayed),) = hub.opened(hub.receive(plaintext))
        assert relayed[12 : len(plaintext)] == plaintext[12:]
    assert hub.drops() == {}


def test_the_source_must_lead_back_to_the_peer_it_came_from(hub: Rig) -> None:
    assert hub.receive(carrying(FRAME, source=4, destination=3)).datagrams == []
    assert hub.receive(carrying(FRAME, source=99, destination=3)).datagrams == []
    assert hub.drops() == {Reason.SOURCE_NOT_ALLOWED: 2}


def test_a_longer_prefix_of_another_peer_wins_both_ways(hub: Rig) -> None:
    hub.dataplane.add_allowed_ip(4, (address("10.254.8.0"), 24))
    hub.dataplane.add_allowed_ip(3, (address("10.254.8.128"), 25))
    low, high = address("10.254.8.1"), address("10.254.8.200")
    for destination, peer in ((low, 4), (high, 3)):
        burst = hub.receive(ipv4(b"", source=tunnel(2), destination=destination))
        assert [number for number, _ in hub.opened(burst)] == [peer]
    hub.receive(ipv4(b"", source=high, destination=tunnel(2)), peer=4)
    assert hub.drops() == {Reason.SOURCE_NOT_ALLOWED: 1}


def test_never_back_to_the_peer_it_came_from(hub: Rig) -> None:
    hub.dataplane.add_allowed_ip(2, (address("10.254.9.0"), 24))
    burst = hub.receive(ipv4(b"", source=tunnel(2), destination=address("10.254.9.9")))
    assert burst.datagrams == []
    assert hub.drops() == {Reason.NO_ROUTE: 1}


NOT_RELAYED = [
    "0.0.0.0",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "febf::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("destination", NOT_RELAYED)
def test_not_to_multicast_link_local_or_loopback(hub: Rig, destination: str) -> None:
    for prefix in ("0.0.0.0", "::"):
        hub.dataplane.add_allowed_ip(3, (address(prefix), 0))
    packed = address(destination)
    if len(packed) == 4:
        sent = ipv4(b"", source=tunnel(2), destination=packed)
    else:
        sent = ipv6(b"", source=tunnel(2, 6), destination=packed)
    assert hub.receive(sent).datagrams == []
    assert hub.drops() == {Reason.NO_ROUTE: 1}


@pytest.mark.parametrize("destination", ["8.8.8.8", "170.254.1.1", "223.255.255.255", "fec0::1"])
def test_to_anything_else_by_the_default_route(hub: Rig, destination: str) -> None:
    for prefix in ("0.0.0.0", "::"):
        hub.dataplane.add_allowed_ip(3, (address(prefix), 0))
    packed = address(destination)
    if len(packed) == 4:
        sent = ipv4(b"", source=tunnel(2), destination=packed)
    else:
        sent = ipv6(b"", source=tunnel(2, 6), destination=packed)
    assert [peer for peer, _ in hub.opened(hub.receive(sent))] == [3]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("inner", "outer", "relayed", "next_outer"),
    [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (2, 2, 2, 2),
        (3, 2, 3, 2),  # a mark made further back is kept; outside it begins anew, as in Linux
        (1, 3, 3, 2),  # a mark made on the way to us goes on inside
        (2, 3, 3, 2),
        (0, 3, 0, 0),  # not ECN-capable: there is nothing to mark
        (2, 1, 2, 2),  # only CE means anything outside
    ],
)
def test_ecn_is_carried(
    hub: Rig, family: int, inner: int, outer: int, relayed: int, next_outer: int
) -> None:
    field: dict[str, Any] = {"tos" if family == 4 else "traffic_class": 0xB8 | inner}
    sent = carrying(FRAME, destination=3, family=family, **field)
    burst = hub.receive(sent, tos=outer)
    assert [datagram.tos for datagram in burst.datagrams] == [next_outer]
    ((_, plaintext),) = hub.opened(burst)
    if family == 4:
        assert plaintext[1] == 0xB8 | relayed
        assert naive_checksum(plaintext[:20]) == 0
    else:
        assert int.from_bytes(plaintext[:2], "big") >> 4 & 0xFF == 0xB8 | relayed


def test_too_big_for_the_next_hop(hub: Rig) -> None:
    hub.receive(packet(bytes(MTU - 20), 99, destination=3))
    assert hub.drops() == {}
    hub.receive(packet(bytes(MTU - 19), 99, destination=3))
    assert hub.drops() == {Reason.TOO_BIG: 1}


def test_padding_is_made_anew(hub: Rig) -> None:
    sent = packet(b"12345", 99, destination=3)
    ((_, plaintext),) = hub.opened(hub.receive(sent + b"\xaa" * 100))
    assert len(plaintext) == 32
    assert plaintext[25:] == bytes(7)


def test_waits_for_a_key_like_any_other_packet(hub: Rig) -> None:
    hub.dataplane.forget_keys(3)
    burst = hub.receive(*(carrying(frame_to(3, payload=bytes([i])), destination=3) for i in (1, 2)))
    assert burst.datagrams == []
    assert burst.events[3] & Event.NEED_HANDSHAKE
    hub.connect(hub.peers[3])
    assert hub.dataplane.send_staged(3, hub.now, or_keepalive=True)
    relayed = [p for _, p in hub.opened(hub.dataplane.take())]
    assert [p[50] for p in relayed] == [1, 2]


def test_its_own_packets_are_not_relayed(hub: Rig) -> None:
    burst = hub.receive(carrying(FRAME, destination=US))
    assert burst.frames == [(PORT, FRAME)]
    assert burst.datagrams == []


def test_a_relayed_frame_teaches_the_hub_nothing(hub: Rig) -> None:
    before = hub.dataplane.fdb_rows(VNI, hub.now)
    hub.receive(carrying(FRAME, destination=3))
    assert hub.dataplane.fdb_rows(VNI, hub.now) == before


def test_a_node_that_is_no_hub_relays_nothing(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class, peers=2)
    assert rig.receive(carrying(FRAME, destination=3)).datagrams == []
    assert rig.drops() == {Reason.NO_ROUTE: 1}
    rig.dataplane.set_forward(True)
    assert len(rig.receive(carrying(FRAME, destination=3)).datagrams) == 1
    rig.dataplane.set_forward(False)
    assert rig.receive(carrying(FRAME, destination=3)).datagrams == []

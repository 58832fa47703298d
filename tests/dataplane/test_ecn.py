"""Congestion marks: from the frame to the tunnel packet to the outer datagram, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dataplane.rig import PORT, US, VNI, Rig, carrying, frame_to, mac, tunnel
from tests.vxlan.packets import ipv4, ipv6, naive_checksum
from wgvx.drops import Reason

NOT_ECT, ECT1, ECT0, CE = range(4)
VLAN = ((0x8100, 5),)
Tags = tuple[tuple[int, int], ...]


def ip_frame(destination: int, source: int, ecn: int, family: int, tags: Tags = ()) -> bytes:
    """A frame with an IP packet of DSCP 46 and this codepoint."""
    tos = 0xB8 | ecn
    payload = ipv4(b"payload", tos=tos) if family == 4 else ipv6(b"payload", traffic_class=tos)
    ethertype = 0x0800 if family == 4 else 0x86DD
    return frame_to(destination, source, payload, ethertype=ethertype, tags=tags)


def tos_of(packet: bytes) -> int:
    if packet[0] >> 4 == 4:
        return packet[1]
    return int.from_bytes(packet[:2], "big") >> 4 & 0xFF


@pytest.mark.parametrize("tags", [(), VLAN])
@pytest.mark.parametrize("tunnel_family", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("inner", "outer"), [(NOT_ECT, 0), (ECT1, 1), (ECT0, 2), (CE, 2)])
def test_on_the_way_out(
    rig: Rig, family: int, tunnel_family: int, inner: int, outer: int, tags: Tags
) -> None:
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2, tunnel_family))
    burst = rig.transmit(ip_frame(2, US, inner, family, tags))
    assert [datagram.tos for datagram in burst.datagrams] == [outer]
    ((_, plaintext),) = rig.opened(burst)
    assert tos_of(plaintext) == outer  # DSCP 0


def test_a_frame_that_is_not_ip_is_not_ecn_capable(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    for frame in (
        frame_to(2, US, b"\x45\xff" + bytes(60)),  # looks like IP, yet its EtherType is not
        frame_to(2, US, b"\x65\xff" + bytes(60), ethertype=0x0800),  # not version 4
        frame_to(2, US, b"\x45\xff", ethertype=0x0800),  # cut
        frame_to(2, US, b"", ethertype=0x86DD),
    ):
        assert [datagram.tos for datagram in rig.transmit(frame).datagrams] == [0]


FIGURE_4 = {  # RFC 6040; by (inner, tunnel packet); None: dropped
    NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
    ECT1: (ECT1, ECT1, ECT1, CE),
    ECT0: (ECT0, ECT1, ECT0, CE),
    CE: (CE, CE, CE, CE),
}


@pytest.mark.parametrize("tags", [(), VLAN])
@pytest.mark.parametrize("tunnel_family", [4, 6])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tunnelled", range(4))
@pytest.mark.parametrize("inner", range(4))
def test_on_the_way_in(
    rig: Rig, inner: int, tunnelled: int, family: int, tunnel_family: int, tags: Tags
) -> None:
    sent = ip_frame(US, 2, inner, family, tags)
    field: dict[str, Any] = {"tos" if tunnel_family == 4 else "traffic_class": tunnelled}
    burst = rig.receive(carrying(sent, family=tunnel_family, **field))
    after = FIGURE_4[inner][tunnelled]
    if after is None:
        assert burst.frames == []
        assert rig.drops() == {Reason.ECN_CE: 1}
        return
    assert burst.frames == [(PORT, ip_frame(US, 2, after, family, tags))]
    if family == 4:
        start = 14 + 4 * len(tags)
        assert naive_checksum(burst.frames[0][1][start : start + 20]) == 0
    assert rig.drops() == {}


@pytest.mark.parametrize(
    ("inner", "tunnelled", "after"),
    [
        (ECT0, ECT0, CE),
        (ECT1, ECT1, CE),
        (ECT0, NOT_ECT, ECT0),  # such a tunnel packet cannot hold the mark
        (NOT_ECT, NOT_ECT, NOT_ECT),
        (CE, ECT0, CE),
    ],
)
def test_a_mark_on_the_underlay_reaches_the_frame(
    rig: Rig, inner: int, tunnelled: int, after: int
) -> None:
    burst = rig.receive(carrying(ip_frame(US, 2, inner, 4), tos=tunnelled), tos=0xB8 | CE)
    assert burst.frames == [(PORT, ip_frame(US, 2, after, 4))]


def test_a_mark_on_the_underlay_spares_frames_that_are_not_ip(rig: Rig) -> None:
    frame = frame_to(US, 2)
    assert rig.receive(carrying(frame, tos=ECT0), tos=CE).frames == [(PORT, frame)]
    assert rig.receive(carrying(frame, tos=CE)).frames == [(PORT, frame)]

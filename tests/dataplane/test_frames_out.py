"""Frames on their way out: the tunnel packet around them, its limits, its peer, its turn."""

from __future__ import annotations

from itertools import pairwise

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
    mac,
    tunnel,
    vxlan_header,
)
from tests.vxlan.packets import BROADCAST, ethernet, ipv4, ipv6, naive_checksum, pseudo_header, udp
from wgvx.dataplane.interface import Network
from wgvx.drops import Reason
from wgvx.wireguard.constants import MAX_STAGED_PACKETS
from wgvx.wireguard.sessions import Event

OVERHEAD = {4: 20 + 8 + 8, 6: 40 + 8 + 8}


def place(rig: Rig, number: int = 2, family: int = 4) -> None:
    """The station at this node is known to be there."""
    rig.dataplane.fdb_add(VNI, mac(number), tunnel(number, family))


def flood(rig: Rig, *numbers: int) -> None:
    for number in numbers:
        rig.dataplane.fdb_add(VNI, bytes(6), tunnel(number))


def sent_frames(rig: Rig, *frames: bytes) -> list[bytes]:
    """What arrives of frames sent to peer 2 over an IPv4 tunnel, unwrapped by hand."""
    return [unwrap(plaintext)[1] for _, plaintext in rig.opened(rig.transmit(*frames))]


def unwrap(plaintext: bytes) -> tuple[int, bytes]:
    """Source port and frame of a tunnel packet, every field and checksum of it verified."""
    if plaintext[0] >> 4 == 4:
        total = int.from_bytes(plaintext[2:4], "big")
        assert plaintext[0] == 0x45
        assert plaintext[6:8] == b"\0\0"  # DF clear, no fragment
        assert plaintext[8:10] == bytes([64, 17])
        assert naive_checksum(plaintext[:20]) == 0
        source, destination, segment = plaintext[12:16], plaintext[16:20], plaintext[20:total]
    else:
        total = 40 + int.from_bytes(plaintext[4:6], "big")
        assert plaintext[0] >> 4 == 6
        assert plaintext[2:4] == b"\0\0"
        assert plaintext[6:8] == bytes([17, 64])
        source, destination, segment = plaintext[8:24], plaintext[24:40], plaintext[40:total]
    assert source == tunnel(US, 4 if len(source) == 4 else 6)
    assert set(plaintext[total:]) <= {0}
    assert segment[2:6] == (4789).to_bytes(2, "big") + len(segment).to_bytes(2, "big")
    assert segment[6:8] != b"\0\0"
    assert naive_checksum(pseudo_header(source, destination, 17, len(segment)) + segment) == 0
    assert segment[8:16] == vxlan_header()
    return int.from_bytes(segment[:2], "big"), segment[16:]


# --- shape and size -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", [14, 15, 60, 61, 1000, 1364])
def test_a_frame_leaves_whole_in_a_right_tunnel_packet(rig: Rig, family: int, length: int) -> None:
    place(rig, family=family)
    frame = frame_to(2, US, payload=bytes(i & 0xFF for i in range(length - 14)))
    burst = rig.transmit(frame)
    ((peer, plaintext),) = rig.opened(burst)
    assert peer == 2
    assert burst.datagrams[0].endpoint == rig.peer.endpoint
    source_port, carried = unwrap(plaintext)
    assert carried == frame
    assert 49152 <= source_port <= 65535
    assert len(plaintext) % 16 == 0 or len(plaintext) == MTU
    assert len(burst.datagrams[0].data) == 32 + len(plaintext)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("mtu", [1280, 1420, 1427, 8920, 65535])
def test_full_at_the_mtu_and_not_a_byte_more(rig: Rig, family: int, mtu: int) -> None:
    place(rig, family=family)
    rig.dataplane.set_mtu(mtu)
    # What UDP and IP can say ends at 65535 as well.
    largest = mtu - OVERHEAD[family]
    frame = frame_to(2, US, payload=bytes(largest - 14))
    ((_, plaintext),) = rig.opened(rig.transmit(frame))
    assert len(plaintext) == mtu  # padding never goes past the tunnel MTU
    assert rig.transmit(frame + b"\0").datagrams == []
    assert rig.drops() == {Reason.TOO_BIG: 1}


@pytest.mark.parametrize("family", [4, 6])
def test_a_udp_checksum_of_0_is_sent_as_all_ones(rig: Rig, family: int) -> None:
    place(rig, family=family)
    position = (20 if family == 4 else 40) + 6
    ((_, plaintext),) = rig.opened(rig.transmit(frame_to(2, US, bytes(46))))
    check = plaintext[position : position + 2]
    # Adding the complement of the sum to the sum makes it all ones, and its complement 0.
    ((_, plaintext),) = rig.opened(rig.transmit(frame_to(2, US, bytes(44) + check)))
    assert plaintext[position : position + 2] == b"\xff\xff"


@pytest.mark.parametrize("short", range(1, 17))
def test_padding_goes_to_a_multiple_of_16_within_the_mtu(rig: Rig, short: int) -> None:
    place(rig)
    rig.dataplane.set_mtu(1420)  # 1420 = 88 * 16 + 12
    frame = frame_to(2, US, payload=bytes(1420 - 36 - 14 - short))
    ((_, plaintext),) = rig.opened(rig.transmit(frame))
    assert len(plaintext) == min(-(-(1420 - short) // 16) * 16, 1420)
    assert unwrap(plaintext)[1] == frame


def test_vlan_tags_are_kept_both_ways(rig: Rig) -> None:
    place(rig)
    for tags in ([(0x8100, 7)], [(0x88A8, 100), (0x8100, 0xE007)]):
        out = frame_to(2, US, tags=tuple(tags))
        assert sent_frames(rig, out) == [out]
        back = frame_to(US, 2, tags=tuple(tags))
        assert rig.receive(carrying(back)).frames == [(PORT, back)]


# --- entropy --------------------------------------------------------------------------------------


def ports_of(rig: Rig, *frames: bytes) -> list[int]:
    return [unwrap(plaintext)[0] for _, plaintext in rig.opened(rig.transmit(*frames))]


def flow(protocol: int, ports: tuple[int, int], payload: bytes, family: int = 4) -> bytes:
    segment = udp(payload, ports=ports)
    if family == 4:
        return frame_to(2, US, ipv4(segment, protocol=protocol), ethertype=0x0800)
    return frame_to(2, US, ipv6(segment, next_header=protocol), ethertype=0x86DD)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17, 132])
def test_a_flow_keeps_its_source_port_and_flows_spread(
    rig: Rig, protocol: int, family: int
) -> None:
    place(rig)
    same = ports_of(rig, *(flow(protocol, (1000, 80), bytes(n), family) for n in range(50)))
    assert len(set(same)) == 1
    spread = ports_of(rig, *(flow(protocol, (n, 80), b"", family) for n in range(1000, 1500)))
    assert len(set(spread)) > 450


def test_the_source_port_is_a_function_of_the_frame_alone(dataplane_class: DataPlaneClass) -> None:
    rigs = [Rig(dataplane_class) for _ in range(2)]
    for rig in rigs:
        place(rig)
    rigs[1].receive(carrying(frame_to(US)))
    frames = [flow(17, (n, 53), b"") for n in range(20)]
    assert ports_of(rigs[0], *frames) == ports_of(rigs[1], *frames)


# --- replication ----------------------------------------------------------------------------------

GROUP = bytes.fromhex("01005e000001")


@pytest.mark.parametrize("destination", [BROADCAST, GROUP, mac(9)])
def test_a_copy_to_each_of_the_flood_list(rig3: Rig, destination: bytes) -> None:
    flood(rig3, 4, 2, 3)
    frame = frame_to(destination, US)
    copies = rig3.opened(rig3.transmit(frame))
    assert [peer for peer, _ in copies] == [4, 2, 3]
    assert {unwrap(plaintext)[1] for _, plaintext in copies} == {frame}
    assert rig3.dataplane.network_counters(VNI).tx_frames == 1


def test_a_group_with_vteps_of_its_own(rig3: Rig) -> None:
    flood(rig3, 2, 3, 4)
    rig3.dataplane.fdb_add(VNI, GROUP, tunnel(3))
    rig3.dataplane.fdb_add(VNI, GROUP, tunnel(4))
    for destination, wanted in ((GROUP, [3, 4]), (BROADCAST, [2, 3, 4])):
        copies = rig3.opened(rig3.transmit(frame_to(destination, US)))
        assert [peer for peer, _ in copies] == wanted


def test_a_placed_station_gets_the_only_copy(rig3: Rig) -> None:
    flood(rig3, 2, 3, 4)
    rig3.receive(carrying(frame_to(US, 9), source=3), peer=3)
    copies = rig3.opened(rig3.transmit(frame_to(9, US)))
    assert [peer for peer, _ in copies] == [3]


def test_split_horizon(rig3: Rig) -> None:
    """What came from one VTEP goes to no other, whoever it is for."""
    flood(rig3, 2, 3, 4)
    rig3.receive(carrying(frame_to(US, 9), source=3), peer=3)
    for destination in (BROADCAST, GROUP, mac(8), mac(9)):
        frame = frame_to(destination, 2)
        burst = rig3.receive(carrying(frame))
        assert burst.datagrams == []
        assert burst.frames == [(PORT, frame)]


# --- several ports on one network -----------------------------------------------------------------


def test_ports_of_a_network_are_bridged(rig: Rig) -> None:
    flood(rig, 2)
    rig.dataplane.add_port(VNI, 8, None)
    rig.dataplane.add_port(VNI, 9, None)
    unknown = frame_to(BROADCAST, 5)
    burst = rig.transmit(unknown, port=8)
    assert burst.frames == [(PORT, unknown), (9, unknown)]
    assert len(burst.datagrams) == 1

    placed = frame_to(5, 6)
    burst = rig.transmit(placed, port=9)
    assert burst.frames == [(8, placed)]
    assert burst.datagrams == []
    from_afar = frame_to(6, 2)
    assert rig.receive(carrying(from_afar)).frames == [(9, from_afar)]
    from_afar = frame_to(BROADCAST, 2)
    assert rig.receive(carrying(from_afar)).frames == [(p, from_afar) for p in (PORT, 8, 9)]


# --- staged packets -------------------------------------------------------------------------------


def staged(rig: Rig, count: int) -> list[bytes]:
    """Frames that wait for a key."""
    place(rig)
    rig.dataplane.forget_keys(2)
    frames = [frame_to(2, US, payload=n.to_bytes(2, "big")) for n in range(count)]
    burst = rig.transmit(*frames)
    assert burst.datagrams == []
    assert burst.events == {2: Event.NEED_HANDSHAKE}
    return frames


def test_what_waited_leaves_in_order_before_anything_later(rig: Rig) -> None:
    frames = staged(rig, 5)
    rig.connect(rig.peer)
    assert rig.dataplane.send_staged(2, rig.now, or_keepalive=True)
    later = frame_to(2, US, payload=b"later")
    burst = rig.transmit(later)
    counters = [int.from_bytes(d.data[8:16], "little") for d in burst.datagrams]
    assert counters == [0, 1, 2, 3, 4, 5]
    assert [unwrap(p)[1] for _, p in rig.opened(burst)] == [*frames, later]


def test_the_responder_waits_for_the_first_packet(rig: Rig) -> None:
    frames = staged(rig, 3)
    rig.connect(rig.peer, initiator=False)
    assert not rig.dataplane.send_staged(2, rig.now, or_keepalive=True)
    more = frame_to(2, US, payload=b"more")
    assert rig.transmit(more).datagrams == []
    burst = rig.receive(b"")
    assert burst.events[2] & Event.CONFIRMED
    assert [unwrap(p)[1] for _, p in rig.opened(burst)] == [*frames, more]


def test_the_oldest_has_to_go(rig: Rig) -> None:
    frames = staged(rig, MAX_STAGED_PACKETS + 3)
    assert rig.drops() == {Reason.STAGED_OVERFLOW: 3}
    rig.connect(rig.peer)
    rig.dataplane.send_staged(2, rig.now, or_keepalive=True)
    burst = rig.dataplane.take()
    assert [unwrap(p)[1] for _, p in rig.opened(burst)] == frames[3:]


def test_nothing_waits_twice(rig: Rig) -> None:
    staged(rig, 1)
    rig.connect(rig.peer)
    for wanted in (1, 0):
        rig.dataplane.send_staged(2, rig.now, or_keepalive=False)
        assert len(rig.dataplane.take().datagrams) == wanted


def test_each_peer_has_a_queue_of_its_own(rig3: Rig) -> None:
    place(rig3, 3)
    staged(rig3, MAX_STAGED_PACKETS)
    frame = frame_to(3, US)
    assert [peer for peer, _ in rig3.opened(rig3.transmit(frame))] == [3]
    assert rig3.drops() == {}


# --- the odd ends ---------------------------------------------------------------------------------


def test_ip_identification_counts_up(rig: Rig) -> None:
    place(rig)
    burst = rig.transmit(*[frame_to(2, US)] * 5)
    names = [int.from_bytes(p[4:6], "big") for _, p in rig.opened(burst)]
    assert all(b - a & 0xFFFF == 1 for a, b in pairwise(names))


def test_a_vtep_in_a_family_without_an_address_of_ours(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class)
    rig.dataplane.set_addresses([tunnel(US, 4)])
    place(rig, family=6)
    assert rig.transmit(frame_to(2, US)).datagrams == []
    assert rig.drops() == {Reason.NO_ROUTE: 1}


def test_the_first_address_of_a_family_is_the_source(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class)
    rig.dataplane.set_addresses([tunnel(50, 6), tunnel(US, 4), tunnel(60, 4), tunnel(US, 6)])
    place(rig)
    ((_, plaintext),) = rig.opened(rig.transmit(frame_to(2, US)))
    assert plaintext[12:16] == tunnel(US, 4)
    # All of them are ours to be reached at.
    frame = frame_to(US, 9)
    for number, family in ((50, 6), (60, 4)):
        burst = rig.receive(carrying(frame, destination=number, family=family))
        assert burst.frames == [(PORT, frame)]


def test_a_network_on_another_port(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class, networks=[Network(VNI, udp_port=8472)])
    place(rig)
    ((_, plaintext),) = rig.opened(rig.transmit(frame_to(2, US)))
    assert plaintext[22:24] == (8472).to_bytes(2, "big")


def test_ethernet_of_every_type_passes(rig: Rig) -> None:
    place(rig)
    for ethertype in (0, 46, 0x0600, 0x0806, 0x8847, 0x88CC, 0xFFFF):
        frame = ethernet(bytes(50), ethertype, destination=mac(2), source=mac(US))
        assert sent_frames(rig, frame) == [frame]

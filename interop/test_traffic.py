"""What a Layer 2 carries, on a pair that stands: both ways, and bit by bit."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from interop.copying import copy
from interop.frames import recording, send_frames
from interop.pair import OVERLAY_MTU, Pair
from tests.netns.nodes import WgvxNode
from tests.netns.traffic import assert_neighbours, assert_ping, mac_of, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

MEGABYTES_2 = 2_000_000
BROADCAST = "ff:ff:ff:ff:ff:ff"
UNKNOWN_TYPE = 0x88B5
OURS = "ether proto 0x88b5"
LENGTHS = (60, 61, 63, 64, 1024, OVERLAY_MTU + 13, OVERLAY_MTU + 14)


def test_neighbours(standing: Pair) -> None:
    for a, b in standing.ways:
        assert_neighbours(a.place, a.tap, b.place, b.tap, b.address.values())


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_arrives_whole(standing: Pair, family: int) -> None:
    for source, sink in standing.ways:
        assert_ping(source.place, sink.address[family])
        copy(source.place, sink.place, sink.address[family], MEGABYTES_2)


@pytest.mark.parametrize("family", [4, 6])
def test_full_size_and_not_one_byte_more(standing: Pair, family: int) -> None:
    for a, b in standing.ways:
        assert_ping(a.place, b.address[family], count=1)
        most = OVERLAY_MTU - (28 if family == 4 else 48)
        assert ping(a.place, b.address[family], size=most, df=True)
        assert not ping(a.place, b.address[family], size=most + 1, df=True)


@pytest.mark.parametrize("family", [4, 6])
def test_fragments_of_the_ends(standing: Pair, family: int) -> None:
    """Larger than the overlay's MTU, so the sender's IP cuts it, inside the tunnel."""
    for a, b in standing.ways:
        assert ping(a.place, b.address[family], size=9000)


def kinds_of_frames(destination: str, source: str) -> dict[str, Ether]:
    """One of each kind, by name."""
    head = Ether(dst=destination, src=source)
    to_ipv4_group = Ether(dst="01:00:5e:00:00:fb", src=source)
    to_ipv6_group = Ether(dst="33:33:00:00:00:fb", src=source)
    return {
        "a type that nobody knows": Ether(dst=destination, src=source, type=UNKNOWN_TYPE),
        "broadcast": Ether(dst=BROADCAST, src=source, type=UNKNOWN_TYPE),
        "IPv4 multicast": to_ipv4_group / IP(src="10.0.0.99", dst="224.0.0.251", ttl=1) / UDP(),
        "IPv6 multicast": to_ipv6_group / IPv6(src="fe80::99", dst="ff02::fb", hlim=1) / UDP(),
        "VLAN": head / Dot1Q(vlan=42, prio=5, type=UNKNOWN_TYPE),
        "VLAN in VLAN": Ether(dst=destination, src=source, type=0x88A8)
        / Dot1Q(vlan=7, type=0x8100)
        / Dot1Q(vlan=42, type=UNKNOWN_TYPE),
        "IPv4 in a VLAN": head / Dot1Q(vlan=42) / IP(src="10.9.0.1", dst="10.9.0.2") / UDP(),
        "MPLS": Ether(dst=destination, src=source, type=0x8847),
        "802.3 with LLC": Ether(dst=destination, src=source, type=0x0026),
    }


def test_every_kind_of_frame_arrives_as_it_was_sent(standing: Pair) -> None:
    for a, b in standing.ways:
        assert_ping(a.place, b.address[4], count=1)
        made = kinds_of_frames(mac_of(b.place, b.tap), mac_of(a.place, a.tap))
        sent = {
            name: bytes(frame / Raw(f"<{name}>".encode().ljust(64))) for name, frame in made.items()
        }
        with recording(b.place, b.tap) as received:
            send_frames(a.place, a.tap, sent.values())
        for name, frame in sent.items():
            # A tap sees a frame with two tags once for each that the kernel takes off.
            assert set(received.carrying(f"<{name}>".encode())) == {frame}, name


def test_what_is_for_the_next_bridge_alone_goes_no_further(standing: Pair) -> None:
    """IEEE 802.1Q, 8.6.3: a bridge forwards nothing to 01:80:c2:00:00:00 to -0f, and wgvx is one.

    The kernel's VXLAN device by itself is none and lets them pass; its bridge does not.
    """
    bridges = [node for node in (standing.ours, standing.theirs) if isinstance(node, WgvxNode)]

    def dropped() -> int:
        return sum(node.drops("reserved_group") for node in bridges)

    for a, b in standing.ways:
        lldp = Ether(dst="01:80:c2:00:00:0e", src=mac_of(a.place, a.tap), type=0x88CC)
        before = dropped()
        with recording(b.place, b.tap) as received:
            send_frames(a.place, a.tap, [bytes(lldp / Raw(b"LLDP".ljust(64, b"\0")))])
        assert received.carrying(b"LLDP") == []
        assert dropped() == before + 1


def test_sizes(standing: Pair) -> None:
    for a, b in standing.ways:
        head = Ether(dst=mac_of(b.place, b.tap), src=mac_of(a.place, a.tap), type=UNKNOWN_TYPE)
        frames = [
            bytes(head / Raw(bytes(n % 251 for n in range(length - 14)))) for length in LENGTHS
        ]
        with recording(b.place, b.tap, OURS) as received:
            send_frames(a.place, a.tap, frames)
        assert received.frames == frames


def test_a_burst_keeps_its_order(standing: Pair) -> None:
    for a, b in standing.ways:
        head = Ether(dst=mac_of(b.place, b.tap), src=mac_of(a.place, a.tap), type=UNKNOWN_TYPE)
        frames = [bytes(head / Raw(b"%04d" % number + bytes(60))) for number in range(200)]
        with recording(b.place, b.tap, OURS) as received:
            send_frames(a.place, a.tap, frames)
        assert [frames.index(frame) for frame in received] == list(range(200))

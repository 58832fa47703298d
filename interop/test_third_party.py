"""Eyes that are not ours: tshark opens what we send, scapy's own layers parse it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from scapy.contrib.wireguard import (
    WireguardCookieReply,
    WireguardInitiation,
    WireguardResponse,
    WireguardTransport,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet as Layers
from scapy.utils import rdpcap

from interop.capture import DATA, GOOD, INITIATION, RESPONSE, Capture
from interop.matches import FAMILIES
from tests.netns.lab import Lab
from tests.netns.nodes import VNI, WgvxNode, preshared_key, wgvx_pair
from tests.netns.traffic import assert_ping, copy_over_tcp
from tests.netns.vxlan_nodes import GoNode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

BULK = 2_000_000
SIZES = {1: 148, 2: 92}


def talk(a: WgvxNode, b: WgvxNode | GoNode) -> None:
    """A bit of everything, and enough of TCP for offloads to have their say."""
    for family in (4, 6):
        assert_ping(a.place, b.address[family])
    copy_over_tcp(a.host, b.host, b.address[4], BULK)
    copy_over_tcp(b.host, a.host, a.address[6], BULK)


@pytest.mark.parametrize(("underlay", "overlay"), FAMILIES)
def test_tshark_opens_a_capture_with_the_key_log(
    lab: Lab, dataplane: str, underlay: int, overlay: int
) -> None:
    a, b = wgvx_pair(lab, underlay=underlay, overlay=overlay)
    psk = preshared_key()
    for node, other in ((a, b), (b, a)):
        node.peers.clear()
        node.add_peer(other.id, underlay=underlay if node is a else None, psk=psk)
    capture = Capture(a.host, b.host)
    capture.start()
    keys = a.host.folder / "keys"
    b.start("--dataplane", dataplane)
    a.start("--dataplane", dataplane, "--key-log", str(keys))
    talk(a, b)
    capture.stop()

    packets = capture.packets(keys)
    assert [p.kind for p in packets[:2]] == [INITIATION, RESPONSE]
    data = [p for p in packets if p.kind == DATA]
    assert len(data) > 2 * BULK / 1400
    assert not capture.fields("wg.decryption_error || wg.bad_packet_length", ["frame.number"], keys)
    assert not capture.fields("_ws.malformed", ["frame.number"], keys)
    for packet in packets:
        assert packet.outer.checksum_status == GOOD, packet
    opened = [p for p in data if p.tunnel is not None]
    # The rest are keepalives.
    assert all(p.outer.length == 32 for p in data if p.tunnel is None)
    for packet in opened:
        assert packet.tunnel is not None
        assert packet.tunnel.destination_port == 4789
        assert packet.vni == VNI
        assert packet.vxlan_flags == 0x0800
        assert packet.vxlan_reserved == (0, 0)
        assert packet.macs is not None
    assert sum(1 for p in opened if "Echo (ping) request" in p.info) >= 3
    assert sum(1 for p in opened if p.protocol == "ICMPv6" and "Echo" in p.info) >= 6
    for node in (a, b):
        sent = [p.counter for p in data if p.outer.source == node.id.address[underlay]]
        assert sorted(c for c in sent if c is not None) == list(range(len(sent)))


def test_a_key_log_of_another_node_opens_nothing(lab: Lab, dataplane: str) -> None:
    """The control: what was opened above was opened by the keys."""
    a, b = wgvx_pair(lab)
    capture = Capture(a.host, b.host)
    capture.start()
    for node in (a, b):
        node.start("--dataplane", dataplane)
    assert_ping(a.place, b.address[4])
    capture.stop()
    data = [p for p in capture.packets() if p.kind == DATA]
    assert data
    assert all(p.tunnel is None for p in data)


def _computed_again(packet: Layers) -> Layers:
    """The same packet, with all lengths and checksums made by scapy."""
    again = packet.copy()
    for layer, fields in ((IP, ("chksum", "len")), (IPv6, ("plen",)), (UDP, ("chksum", "len"))):
        for number in itertools.count(1):
            found = again.getlayer(layer, number)
            if found is None:
                break
            for field in fields:
                # A UDP checksum of 0 says that there is none.
                if getattr(found, field) != 0:
                    delattr(found, field)
    return again


@pytest.mark.parametrize("underlay", [4, 6])
def test_scapy_parses_the_messages(lab: Lab, dataplane: str, underlay: int) -> None:
    a, b = wgvx_pair(lab, underlay=underlay)
    capture = Capture(a.host, b.host)
    capture.start()
    for node in (b, a):
        node.start("--dataplane", dataplane)
    talk(a, b)
    capture.stop()
    kinds = {
        WireguardInitiation: 1,
        WireguardResponse: 2,
        WireguardCookieReply: 3,
        WireguardTransport: 4,
    }
    seen: dict[int, int] = {}
    for packet in rdpcap(str(capture.path)):
        if UDP not in packet or 51820 not in (packet[UDP].sport, packet[UDP].dport):
            continue
        assert bytes(_computed_again(packet)) == bytes(packet), packet.show(dump=True)
        (kind,) = (number for layer, number in kinds.items() if layer in packet)
        if underlay == 6:
            assert packet[IPv6].fl == 0  # as the kernel's WireGuard
        payload = bytes(packet[UDP].payload)
        assert len(payload) == SIZES.get(kind, len(payload))
        if kind == DATA:
            assert len(payload) % 16 == 0
        seen[kind] = seen.get(kind, 0) + 1
    assert set(seen) == {1, 2, 4}


@pytest.mark.parametrize("overlay", [4, 6])
def test_scapy_parses_vxlan_behind_somebody_elses_tunnel(
    lab: Lab, dataplane: str, overlay: int
) -> None:
    hosts = lab.host("w"), lab.host("g")
    lab.lan(*hosts)
    ours, theirs = (
        WgvxNode(hosts[0], "w", 1, overlay=overlay),
        GoNode(hosts[1], "g", overlay=overlay),
    )
    ours.add_peer(theirs.id, underlay=4)
    theirs.start()
    theirs.add_peer(ours.id, underlay=None)
    path = hosts[1].folder / "tunnel.pcap"
    tcpdump = hosts[1].start("tcpdump", "-i", theirs.name, "-U", "-w", str(path), log="tcpdump")
    ours.start("--dataplane", dataplane)
    talk(ours, theirs)
    tcpdump.end()
    local = "10.254.0.1" if overlay == 4 else "fd00:fe::1"
    found = 0
    for packet in rdpcap(str(path)):
        if packet.src != local:
            continue
        assert VXLAN in packet, packet.show(dump=True)
        assert bytes(_computed_again(packet)) == bytes(packet), packet.show(dump=True)
        assert packet[VXLAN].vni == VNI
        assert int(packet[VXLAN].flags) == 0x08
        assert packet[UDP].dport == 4789
        assert packet[UDP].sport >= 32768
        assert Ether in packet[VXLAN]
        found += 1
    assert found > BULK / 1400


def test_the_key_log_is_the_nodes_own(lab: Lab, tmp_path: Path) -> None:
    a, _ = wgvx_pair(lab)
    a.start("--key-log", str(tmp_path / "keys"))
    process = a.process
    assert process is not None
    assert f"whoever reads {tmp_path}/keys can read all traffic" in process.stderr
    a.stop()

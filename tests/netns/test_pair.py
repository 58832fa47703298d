"""Two wgvx nodes and what an everyday pair of machines does with them."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import FLOOD_MAC, VNI, WgvxNode, endpoint, tunnel_address, wgvx_pair
from tests.netns.traffic import (
    BROADCAST,
    assert_neighbours,
    assert_ping,
    frame,
    mac_bytes,
    mac_of,
    wires,
)

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

SHOW_KEYS = {
    *("name", "public_key", "listen_port", "dataplane", "aead", "offloads", "peers"),
    *("networks", "drops"),
}
PEER_KEYS = {
    *("public_key", "name", "endpoint", "allowed_ips", "latest_handshake", "rx_bytes", "tx_bytes"),
}
NETWORK_KEYS = {"vni", "attach", "down", "mtu", "fdb_entries", "rx_frames", "tx_frames"}
FDB_KEYS = {"vni", "mac", "vtep", "port", "state", "age", "moves"}
DROPS = {
    *("malformed", "bad_mac1", "bad_mac2", "handshake_rate", "handshake_replay"),
    *("handshake_failed", "unknown_index", "auth_failed", "replayed", "key_expired"),
    *("inner_malformed", "source_not_allowed", "no_route", "no_endpoint", "staged_overflow"),
    *("bad_checksum", "fragment", "not_vxlan", "reserved_bits", "unknown_vni"),
    *("vtep_not_accepted", "short_frame", "own_mac", "bad_source_mac", "reserved_group"),
    *("static_moved", "no_remote", "too_big", "ecn_ce", "ttl", "port_full", "socket_full"),
}


def start(*nodes: WgvxNode) -> None:
    for node in nodes:
        node.start()


@pytest.mark.parametrize("overlay", [4, 6])
@pytest.mark.parametrize("underlay", [4, 6])
def test_families(lab: Lab, underlay: int, overlay: int) -> None:
    a, b = wgvx_pair(lab, underlay=underlay, overlay=overlay)
    start(a, b)
    # ARP, neighbour discovery and echo, from both ends.
    assert_neighbours(a.host, a.tap, b.host, b.tap, b.address.values())
    assert_neighbours(b.host, b.tap, a.host, a.tap, a.address.values())

    peer = a.peer(b.id)
    assert peer["endpoint"] == endpoint(b.id.address[underlay], b.id.port)
    assert abs(time.time() - peer["latest_handshake"]) < 60
    remote = tunnel_address(b.id.index, overlay)
    learned = a.lookup(mac_of(b.host, b.tap))
    assert learned is not None
    assert 0 <= learned.pop("age") < 60
    assert learned == {
        "vni": VNI,
        "mac": mac_of(b.host, b.tap),
        "vtep": remote,
        "port": None,
        "state": "dynamic",
        "moves": 0,
    }
    flood = {"vni": VNI, "mac": FLOOD_MAC, "vtep": remote, "port": None, "state": "static"}
    assert {**flood, "age": None, "moves": 0} in a.fdb()
    a.stop(signal.SIGTERM)
    b.stop(signal.SIGINT)


def test_json_is_as_specified(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    del a.peers[0]["name"]
    b.peers[0].pop("endpoint")
    start(a)
    before = a.show()
    assert before["peers"][0]["name"] is None
    assert before["peers"][0]["latest_handshake"] == 0
    start(b)
    assert b.peer(a.id)["name"] == a.name
    assert_ping(a.host, b.address[4])

    status = a.show()
    assert set(status) >= SHOW_KEYS  # more may be added, none taken away
    assert status["name"] == a.name
    assert status["public_key"] == a.id.public
    assert status["listen_port"] == a.id.port
    assert status["dataplane"] in ("reference", "native")
    assert all(type(used) is bool for used in status["offloads"].values())
    (peer,) = status["peers"]
    assert set(peer) >= PEER_KEYS
    assert peer["allowed_ips"] == [f"{tunnel_address(2, 4)}/32"]
    assert peer["rx_bytes"] > 0
    assert peer["tx_bytes"] > 0
    (network,) = status["networks"]
    assert set(network) >= NETWORK_KEYS
    assert network["vni"] == VNI
    assert network["attach"] == [{"type": "tap", "name": a.tap}]
    # The route to the peer has 1500; less 80 for any outer family, less 70 for any overlay.
    assert network["mtu"] == 1350
    assert network["rx_frames"] >= 1
    assert network["tx_frames"] >= 1
    assert set(status["drops"]) >= DROPS
    assert all(type(count) is int for count in status["drops"].values())

    rows = a.fdb()
    assert all(set(row) >= FDB_KEYS for row in rows)
    assert network["fdb_entries"] == len([row for row in rows if row["mac"] != FLOOD_MAC])
    own = a.lookup(mac_of(a.host, a.tap))
    assert own is not None
    assert (own["state"], own["vtep"], own["port"]) == ("local", None, a.tap)

    everyone = a.wgvx("show", "--json").stdout
    assert a.id.public in everyone
    assert b.id.public in everyone
    for text in (a.wgvx("show", a.name), a.wgvx("fdb", a.name), a.wgvx("show")):
        assert a.id.private not in text.stdout
        assert "\x1b" not in text.stdout  # plain in a pipe


def test_down_returns_when_all_is_gone(lab: Lab) -> None:
    a, _ = wgvx_pair(lab)
    a.start()
    assert a.process is not None
    family = a.process.family()
    a.config_path.unlink()  # it works on the running node, not on its file
    a.wgvx("down", a.name)
    a.assert_nothing_left()
    a.assert_ended(family)
    again = a.wgvx("down", a.name, check=False)
    assert again.returncode == 1
    assert a.name in again.stderr


def test_announced_on_ready(lab: Lab) -> None:
    """One gratuitous ARP and one unsolicited neighbour advertisement."""
    a, b = wgvx_pair(lab)
    a.start()
    with wires((a.host, a.tap), (a.host, a.tap)) as (arp_wire, nd_wire):
        b.start()
        mac = mac_bytes(mac_of(b.host, b.tap))
        ip4 = socket.inet_aton(b.address[4])
        ip6 = socket.inet_pton(socket.AF_INET6, b.address[6])
        arp = arp_wire.expect(mac + ip4, 0x0806)
        # RFC 5227, 1.1: sender and target protocol address are the same.
        assert arp[28:32] == arp[38:42] == ip4
        assert arp[:6] == mac_bytes(BROADCAST)
        # RFC 4861, 4.4: the target, then the target link-layer address option (2).
        advertisement = nd_wire.expect(ip6 + b"\x02\x01" + mac, 0x86DD)
        assert advertisement[54] == 136


def test_two_networks_share_nothing(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    for node in (a, b):
        node.networks[0]["tap"] = f"{node.name[:12]}r"
        node.networks.append(
            {
                "vni": VNI + 1,
                "tap": f"{node.name[:12]}g",
                "address": [f"10.0.1.{node.id.index}/24"],
            }
        )
    start(a, b)
    assert_ping(a.host, "10.0.0.2")
    assert_ping(a.host, "10.0.1.2")
    red, green = (network["tap"] for network in b.networks)
    ours = a.networks[0]["tap"]
    with wires((a.host, ours), (b.host, red), (b.host, green)) as (sender, same, other):
        sender.send(frame(BROADCAST, mac_of(a.host, ours), b"red alone"))
        same.expect(b"red alone")
        assert other.received(b"red alone") == []
    vnis = {row["vni"] for row in b.fdb() if row["mac"] == mac_of(a.host, ours)}
    assert vnis == {VNI}
    a.stop()
    b.stop()


def test_a_network_that_the_other_has_not(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    b.networks[0]["vni"] = VNI + 1
    start(b, a)
    with wires((a.host, a.tap), (b.host, b.tap)) as (left, right):

        def refused() -> bool:
            left.send(frame(BROADCAST, mac_of(a.host, a.tap), b"elsewhere"))
            return b.drops("unknown_vni") > 0

        eventually(refused, "the unknown VNI is counted")
        assert right.received(b"elsewhere") == []
    assert b.lookup(mac_of(a.host, a.tap)) is None


def test_mac_moves(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    start(a, b)
    assert_ping(a.host, b.address[4])
    mac = "02:00:00:00:00:77"
    with wires((a.host, a.tap), (b.host, b.tap)) as (left, right):
        left.send(frame(BROADCAST, mac, b"at a"))
        right.expect(b"at a")
        at_a, at_b = a.lookup(mac), b.lookup(mac)
        assert at_a is not None
        assert at_b is not None
        assert (at_a["state"], at_a["port"]) == ("local", a.tap)
        assert (at_b["state"], at_b["vtep"]) == ("dynamic", tunnel_address(1, 4))
        right.send(frame(BROADCAST, mac, b"at b"))
        left.expect(b"at b")
        at_a, at_b = a.lookup(mac), b.lookup(mac)
        assert at_a is not None
        assert at_b is not None
        assert (at_a["state"], at_a["vtep"]) == ("dynamic", tunnel_address(2, 4))
        assert (at_b["state"], at_b["port"]) == ("local", b.tap)
        # A frame for it goes to its new place.
        left.send(frame(mac, mac_of(a.host, a.tap), b"to where it is"))
        right.expect(b"to where it is")


def test_fdb_commands(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    start(a, b)
    assert_ping(a.host, b.address[4])
    mac, vtep = "02:00:00:00:00:99", tunnel_address(2, 4)
    a.wgvx("fdb", a.name, "add", mac, vtep)
    row = a.lookup(mac)
    assert row is not None
    assert (row["state"], row["vtep"], row["age"]) == ("static", vtep, None)
    a.wgvx("fdb", a.name, "del", mac)
    assert a.lookup(mac) is None
    # A frame whose source MAC is a static entry of another VTEP is dropped, and the entry stays.
    elsewhere = tunnel_address(9, 4)
    b.wgvx("fdb", b.name, "add", mac, elsewhere)
    with wires((a.host, a.tap), (b.host, b.tap)) as (sender, receiver):
        sender.send(frame(BROADCAST, mac, b"from a thief"))
        assert receiver.received(b"from a thief") == []
    assert b.drops("static_moved") == 1
    row = b.lookup(mac)
    assert row is not None
    assert row["vtep"] == elsewhere

    a.wgvx("fdb", a.name, "flush")
    assert a.lookup(mac_of(b.host, b.tap)) is None
    assert a.lookup(mac_of(a.host, a.tap)) is not None  # permanent
    a.wgvx("fdb", a.name, "del", FLOOD_MAC, vtep)
    a.host.ip("neighbour", "flush", "dev", a.tap)
    with wires((a.host, a.tap)) as (sender,):
        sender.send(frame(BROADCAST, mac_of(a.host, a.tap), b"to no one"))
    eventually(lambda: a.drops("no_remote") > 0, "without a flood list there is no remote")
    a.wgvx("fdb", a.name, "add", FLOOD_MAC, vtep)
    assert_ping(a.host, b.address[4])


@pytest.mark.parametrize("underlay", [4, 6])
def test_roaming_to_another_address(lab: Lab, underlay: int) -> None:
    a, b = wgvx_pair(lab, underlay=underlay)
    start(a, b)
    assert_ping(a.host, b.address[4])
    old = f"{b.id.address[underlay]}/{24 if underlay == 4 else 64}"
    new = "192.0.2.77" if underlay == 4 else "2001:db8::77"
    b.host.ip("address", "del", old, "dev", "eth0")
    b.host.ip("address", "add", f"{new}{old[old.index('/') :]}", "dev", "eth0")
    # The socket of b answered from an address that is gone: it must choose anew.
    assert_ping(b.host, a.address[4])
    assert a.peer(b.id)["endpoint"] == endpoint(new, b.id.port)
    assert_ping(a.host, b.address[4])


def test_roaming_to_another_port(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    start(a, b)
    assert_ping(a.host, b.address[4])
    b.host.run("wg", "set", b.name, "listen-port", "51999")
    b.id.port = 51999
    assert_ping(b.host, a.address[4])
    assert a.peer(b.id)["endpoint"] == endpoint(b.id.address[4], 51999)
    assert b.show()["listen_port"] == 51999
    b.stop()


def test_restart_of_the_end_that_can_call(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    start(a, b)
    assert_ping(a.host, b.address[4])
    # The TAI64N stamp is kept: a second handshake within moments is not taken for a replay.
    for _ in range(2):
        b.stop()
        state = Path(b.node["state_dir"])
        assert any(file.stat().st_size for file in state.iterdir() if file.is_file())
        b.start()
        assert_ping(a.host, b.address[4], timeout=5)
    assert a.drops("handshake_replay") == 0


def test_restart_of_the_end_that_cannot_call(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    del b.peers[0]["endpoint"]
    start(b, a)
    assert_ping(a.host, b.address[4])
    b.stop()
    b.start()
    # Only a's timer helps: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT after the first unanswered data.
    assert_ping(a.host, b.address[4], timeout=25)


def test_tap_in_a_named_namespace(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    blue = lab.host("blue")
    a.networks[0]["netns"] = blue.name
    start(a, b)
    assert a.tap in blue.links()
    assert a.tap not in a.host.links()
    assert_neighbours(blue, a.tap, b.host, b.tap, b.address.values())
    a.stop()
    assert a.tap not in blue.links()


def test_member_of_a_bridge(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    pc = lab.host("pc")
    pc.ip("link", "add", "lan0", "type", "veth", "peer", "lan0", "netns", a.host.name)
    pc.ip("link", "set", "lan0", "mtu", "1350", "up")
    pc.ip("address", "add", "10.0.0.9/24", "dev", "lan0")
    a.host.ip("link", "add", "br0", "type", "bridge")
    a.host.ip("link", "set", "br0", "up")
    a.host.ip("link", "set", "lan0", "mtu", "1350", "master", "br0", "up")
    del a.networks[0]["address"]
    a.networks[0]["bridge"] = "br0"
    start(a, b)
    (link,) = a.host.ip_json("link", "show", a.tap)
    assert link["master"] == "br0"
    assert_neighbours(pc, "lan0", b.host, b.tap, [b.address[4]])
    beyond, local = b.lookup(mac_of(pc, "lan0")), a.lookup(mac_of(pc, "lan0"))
    assert beyond is not None
    assert local is not None
    assert beyond["vtep"] == tunnel_address(1, 4)
    assert (local["state"], local["port"]) == ("local", a.tap)
    a.stop()
    assert "br0" in a.host.links()


def _tap_state(node: WgvxNode) -> dict[str, object]:
    (link,) = node.host.ip_json("address", "show", node.tap)
    addresses = {
        (row["local"], row["prefixlen"])
        for row in link["addr_info"]
        if row["scope"] == "global"  # link-local ones follow the MAC
    }
    return {
        "mtu": link["mtu"],
        "mac": link["address"],
        "up": "UP" in link["flags"],
        "bridge": link.get("master"),
        "addresses": addresses,
    }


def test_adopted_tap_that_is_up(lab: Lab) -> None:
    """Made by an independent library; gets back what it had."""
    pytun = pytest.importorskip("pytun")
    a, b = wgvx_pair(lab)
    with a.host.entered():
        tap = pytun.TunTapDevice(name=a.tap, flags=pytun.IFF_TAP | pytun.IFF_NO_PI)
        tap.persist(True)
        tap.close()
    a.host.ip("link", "set", a.tap, "mtu", "1400", "address", "02:00:00:00:00:55", "up")
    a.host.ip("address", "add", "198.51.100.7/24", "dev", a.tap)
    _assert_adopted(a, b)


def test_adopted_tap_that_is_down(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.host.ip("tuntap", "add", "dev", a.tap, "mode", "tap")
    a.host.ip("link", "set", a.tap, "address", "02:00:00:00:00:56")
    _assert_adopted(a, b)


def _assert_adopted(a: WgvxNode, b: WgvxNode) -> None:
    before = _tap_state(a)
    a.keeps = {a.tap}
    a.networks[0]["mac"] = "02:00:00:00:00:01"
    start(a, b)
    assert_ping(a.host, b.address[4])
    during = _tap_state(a)
    assert (during["mtu"], during["mac"], during["up"]) == (1350, "02:00:00:00:00:01", True)
    a.stop()
    assert _tap_state(a) == before

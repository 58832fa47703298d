"""The lab itself: wireguard-go and the kernel's VXLAN against each other, without wgvx.

When these fail, the machine cannot carry the other tests of this folder.
"""

from __future__ import annotations

import signal

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import preshared_key, toml
from tests.netns.traffic import (
    BROADCAST,
    assert_neighbours,
    assert_ping,
    copy_over_tcp,
    frame,
    mac_of,
    ping,
    wires,
)
from tests.netns.vxlan_nodes import GoNode

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("overlay", [4, 6])
@pytest.mark.parametrize("underlay", [4, 6])
def test_two_kernel_vxlans(lab: Lab, underlay: int, overlay: int) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.lan(a, b)
    left, right = GoNode(a, "a", overlay=overlay), GoNode(b, "b", overlay=overlay)
    psk = preshared_key()
    left.start()
    right.start()
    left.add_peer(right.id, underlay=underlay, psk=psk)
    right.add_peer(left.id, underlay=None, psk=psk)
    assert_neighbours(a, left.tap, b, right.tap, right.address.values())
    assert right.latest_handshake(left.id) > 0
    assert ping(a, right.address[4], size=left.mtu - 28, df=True)
    assert not ping(a, right.address[4], size=left.mtu - 27, df=True)
    for address in right.address.values():
        copy_over_tcp(a, b, address, 5_000_000)


def test_a_switch_joins_three(lab: Lab) -> None:
    hosts = [lab.host(label) for label in "abc"]
    lab.lan(*hosts, mtu=1400)
    for host in hosts[1:]:
        assert_ping(hosts[0], host.address(4))
        assert_ping(hosts[0], host.address(6))
    assert ping(hosts[0], hosts[1].address(4), size=1372, df=True)
    assert not ping(hosts[0], hosts[1].address(4), size=1373, df=True)


def test_raw_frames(lab: Lab) -> None:
    a, b = lab.host("a"), lab.host("b")
    lab.lan(a, b)
    with wires((a, "eth0"), (b, "eth0")) as (left, right):
        left.send(frame(BROADCAST, mac_of(a, "eth0"), b"to all"))
        right.expect(b"to all")
        left.send(frame("02:00:00:00:00:99", mac_of(a, "eth0"), b"to nobody"))
        right.expect(b"to nobody")
        assert left.received(b"to") == []


def test_processes_end_with_the_lab(lab: Lab) -> None:
    host = lab.host("a")
    deaf = host.start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done", log="deaf")
    meek = host.start("sleep", "100", log="meek")
    eventually(lambda: deaf.stdout == "up\n", "the deaf one has set its trap")
    lab.close()
    assert deaf.returncode() == -signal.SIGKILL
    assert meek.returncode() == -signal.SIGTERM
    assert host.name not in (row["name"] for row in _namespaces(lab))


def _namespaces(lab: Lab) -> list[dict[str, str]]:
    probe = lab.host("probe")
    return probe.ip_json("netns", "list")


def test_toml() -> None:
    text = toml({"node": {"mtu": 1420}, "network": [{"fdb": [{"mac": "m"}], "learning": True}]})
    assert text == '[node]\nmtu = 1420\n[[network]]\nfdb = [{ mac = "m" }]\nlearning = true\n'

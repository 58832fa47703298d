"""Fleets brought up from what was rendered for them: tenants work, and outsiders stay out."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.netns.fleet_nodes import RenderedFleet, RenderedKernel, RenderedWgvx
from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WGVX
from tests.netns.traffic import BROADCAST, frame, mac_of, ping, wires

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("nft") is None, reason="missing: apt-get install -y nftables"),
]

MESH = """
[fleet]
tunnel = ["10.254.0.0/16"]

[[site]]
name = "{a}"
endpoint = "{a_ip}:51820"

[[site]]
name = "{b}"

[[site]]
name = "{c}"
kind = "kernel"
endpoint = "{c_ip}:51820"
underlay_mtu = 1440

[[site]]
name = "{x}"
endpoint = "{x_ip}:51820"

[[tenant]]
name = "blue"
vni = 4200
prefix = ["10.0.0.0/24"]
sites = ["{a}", "{b}", "{c}"]

[[tenant]]
name = "red"
vni = 4201
prefix = ["10.0.1.0/24"]
"""

INTRUSION = """
[[network]]
vni = 4200
tap = "blue"
address = ["10.0.0.66/24"]
remotes = ["10.254.0.1", "10.254.0.3"]
"""

HUBS = """
[fleet]
tunnel = ["fd00:fe::/64"]
topology = "hub-and-spoke"

[[site]]
name = "{h}"
kind = "kernel"
hub = true
endpoint = "{h_ip}:51820"

[[site]]
name = "{i}"
hub = true
endpoint = "{i_ip}:51820"

[[site]]
name = "{s}"
via = "{h}"

[[site]]
name = "{t}"
kind = "kernel"
via = "{i}"

[[tenant]]
name = "blue"
vni = 4200
prefix = ["10.0.0.0/24"]
sites = ["{s}", "{t}"]
"""


def test_a_mesh_with_a_kernel_among_them(lab: Lab) -> None:
    fleet = RenderedFleet(lab, "abcx", MESH)
    a, c, x = fleet.nodes["a"], fleet.nodes["c"], fleet.nodes["x"]
    assert isinstance(a, RenderedWgvx)
    assert isinstance(c, RenderedKernel)
    # Site x, which has tunnels to all and red in common with them, helps itself to blue.
    assert isinstance(x, RenderedWgvx)
    x.file.write_text(x.file.read_text() + INTRUSION)
    for node in fleet.nodes.values():
        node.start()
    for tenant in ("blue", "red"):
        fleet.assert_pings(tenant)
    # One MTU fits all of a tenant's paths, to the byte.
    address = fleet.overlay("blue")["c"]
    assert ping(a.host, address, size=1290 - 28, df=True)
    assert not ping(a.host, address, size=1290 - 27, df=True)

    refused, filtered = a.show()["drops"]["vtep_not_accepted"], c.filtered()
    mac = mac_of(x.host, "blue")
    with wires((x.host, "blue"), (a.host, "blue"), (c.host, "blue")) as (sender, *others):
        sender.send(frame(BROADCAST, mac, b"from an outsider"))
        eventually(lambda: a.show()["drops"]["vtep_not_accepted"] > refused, "wgvx refuses it")
        eventually(lambda: c.filtered() > filtered, "nftables drops it")
        assert not any(one.received(b"from an outsider") for one in others)
    assert mac not in a.fdb()
    assert mac not in c.fdb("blue")
    assert not ping(x.host, fleet.overlay("blue")["a"])
    fleet.assert_pings("blue")

    # The kernel's script may be run again: nothing changes but what someone else changed.
    c.host.ip("address", "add", "10.0.0.77/24", "dev", "blue")
    c.host.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dst", "10.254.0.9", "dev", "blue")
    before = c.host.ip_json("link", "show", "blue")
    c.quick(f"/etc/wireguard/{c.name}-vxlan.sh", "up")
    assert c.host.ip_json("link", "show", "blue") == before
    assert "10.254.0.9" not in c.fdb("blue")
    (row,) = c.host.ip_json("address", "show", "dev", "blue")
    assert "10.0.0.77" not in [one["local"] for one in row["addr_info"]]
    fleet.assert_pings("blue")
    c.stop()


ONE_KERNEL = """
[fleet]
tunnel = ["10.254.0.0/16"]

[[site]]
name = "{c}"
kind = "kernel"

[[tenant]]
name = "blue"
vni = 4200
prefix = ["10.0.0.0/24"]
"""


def test_the_kernels_script_takes_nobodys_device(lab: Lab) -> None:
    fleet = RenderedFleet(lab, "c", ONE_KERNEL)
    c = fleet.nodes["c"]
    assert isinstance(c, RenderedKernel)
    c.host.ip("tuntap", "add", c.name, "mode", "tun")
    c.host.ip("link", "add", "blue", "type", "bridge")
    script = f"{c.installed}/{c.name}-vxlan.sh"
    done = c.host.run(script, "up", check=False)
    assert done.returncode != 0
    assert "File exists" in done.stderr
    assert "bridge" in c.host.run("ip", "-details", "link", "show", "dev", "blue").stdout
    # A VXLAN device is what an earlier run had made, with other settings.
    c.host.ip("link", "delete", "blue")
    c.host.ip("link", "add", "blue", "type", "vxlan", "id", "7", "dstport", "4789")
    c.host.run(script, "up")
    assert "vxlan id 4200" in c.host.run("ip", "-details", "link", "show", "dev", "blue").stdout


def test_two_hubs_of_two_kinds(lab: Lab) -> None:
    """From a spoke to the other hub's, over an IPv6 tunnel; the hubs have no part in the tenant."""
    fleet = RenderedFleet(lab, "hist", HUBS)
    for node in fleet.nodes.values():
        node.start()
    fleet.assert_pings("blue")
    s, t = fleet.nodes["s"], fleet.nodes["t"]
    address = fleet.overlay("blue")["t"]
    assert ping(s.host, address, size=1350 - 28, df=True)
    assert t.host.links() == {"lo", "eth0", t.name, "blue"}
    assert fleet.hosts["h"].links() == {"lo", "eth0", fleet.names["h"]}


def test_under_the_units_restrictions(lab: Lab) -> None:
    """As far as they are not systemd's own to make: one capability, and no way to another."""
    fleet = RenderedFleet(lab, "abcx", MESH)
    unit = (fleet.rendered / "systemd/wgvx@.service").read_text()
    (capabilities,) = re.findall(r"^CapabilityBoundingSet=CAP_(\w+)$", unit, re.MULTILINE)
    assert "\nNoNewPrivileges=yes\n" in unit
    a = fleet.nodes["a"]
    assert isinstance(a, RenderedWgvx)
    a.start("setpriv", "--no-new-privs", f"--bounding-set=-all,+{capabilities.lower()}")
    assert a.host.links() == {"lo", "eth0", "blue", "red"}
    a.host.run(WGVX, "reload", a.name)
    a.stop()
    assert a.host.links() == {"lo", "eth0"}


NETWORKD = Path("/lib/systemd/systemd-networkd")
BESIDE_THE_HOSTS = """
mount -t tmpfs none /etc/systemd/network
mount -t tmpfs none /run
install -d -o systemd-network /run/systemd/netif
mount -o remount,ro,bind /sys     # so that it does not wait for udev
install -m 0644 "$1"/*.net* /etc/systemd/network
rm "/etc/systemd/network/50-$3.netdev"
SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=debug exec "$2"
"""


@pytest.mark.skipif(not NETWORKD.exists(), reason="missing: apt-get install -y systemd")
def test_networkd_takes_its_files(lab: Lab) -> None:
    """All but the WireGuard device, in whose place is a TUN: there is no WireGuard in this kernel,
    and another kernel would have it from the same file."""
    fleet = RenderedFleet(lab, "abcx", MESH)
    c = fleet.nodes["c"]
    c.host.ip("tuntap", "add", c.name, "mode", "tun")
    c.host.ip("link", "set", c.name, "up")
    files = fleet.rendered / "nodes" / c.name / "networkd"
    networkd = c.host.start(
        "sh", "-c", BESIDE_THE_HOSTS, "sh", *map(str, (files, NETWORKD, c.name)), log="n"
    )

    def flooded() -> set[str]:
        shown = c.host.run("bridge", "fdb", "show", "dev", "blue", check=False).stdout
        return set(re.findall(r"^00:00:00:00:00:00 dst (\S+)", shown, re.MULTILINE))

    eventually(lambda: flooded() == {"10.254.0.1", "10.254.0.2"}, f"it floods: {networkd}", 20)
    (blue,) = c.host.ip_json("-details", "link", "show", "blue")
    assert (blue["mtu"], blue["address"]) == (1290, _rendered_mac(fleet, "c"))
    told = blue["linkinfo"]["info_data"]
    assert (told["id"], told["port"], told["local"]) == (4200, 4789, "10.254.0.3")
    for trouble in ("Unknown", "Invalid", "Failed to parse", "ignoring assignment"):
        assert not re.search(rf"/etc/systemd/network/.*{trouble}", networkd.stderr), networkd


def _rendered_mac(fleet: RenderedFleet, site: str) -> str:
    """That of the same node's interface where wgvx runs it."""
    name = fleet.names[site]
    text = (fleet.rendered / "nodes" / name / "wgvx" / f"{name}.toml").read_text()
    return str(tomllib.loads(text)["network"][0]["mac"])

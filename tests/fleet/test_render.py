"""What is rendered is what its readers take, and says what the plan says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.fleet.plans import FLEET, MESH, TENANT, TWO_HUBS, fleet, nodes, site
from wgvx import keys
from wgvx.config import load
from wgvx.fleet.difference import difference
from wgvx.fleet.files import File, write_tree
from wgvx.fleet.render import tree

BRIDGED = MESH + '[[tenant]]\nname = "lan"\nvni = 5\nbridge = "br0"\nsites = ["a", "b"]\n'
SIX = MESH.replace("10.254.0.0/16", "fd00:fe::/64").replace("10.0.0.0/24", "fd00:a::/64")
DUAL = TWO_HUBS.replace('"10.254.0.0/16"', '"10.254.0.0/16", "fd00:fe::/64"')
PLANS = {"mesh": MESH, "hubs": TWO_HUBS, "bridged": BRIDGED, "six": SIX, "dual": DUAL}


def sections(text: str) -> dict[str, list[dict[str, list[str]]]]:
    """A file with sections that may come again, as wg(8) and systemd have them."""
    found: dict[str, list[dict[str, list[str]]]] = defaultdict(list)
    for line in text.splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            found[head[1]].append(defaultdict(list))
            current = found[head[1]][-1]
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            current[key.strip()].append(value.strip())
    return found


@pytest.mark.parametrize("plan", PLANS)
def test_wgvx_takes_its_file_without_a_warning(plan: str, tmp_path: Path) -> None:
    there = fleet(tmp_path, PLANS[plan])
    files = tree(there)
    write_tree(tmp_path / "out", files)
    for node in there.nodes():
        config = load(tmp_path / f"out/nodes/{node.name}/wgvx/{node.name}.toml")
        assert config.warnings == ()
        assert keys.encode(keys.public_key(config.node.private_key)) == node.public_key
        assert config.node.mtu == node.mtu
        assert config.node.forward == node.forward
        assert [str(one) for one in config.node.addresses] == list(node.addresses)
        assert [one.name for one in config.peers] == [one.name for one in node.peers]
        for network in config.networks:
            # Always: who is not in a tenant is not heard in it.
            assert network.accept is not None
            tenant = next(one for one in there.plan.tenants.values() if one.vni == network.vni)
            heard = {str(host) for prefix in network.accept for host in prefix}
            assert heard == {str(there.links.addresses(name)[0]) for name in tenant.sites}
            assert {str(one) for one in network.remotes or ()} == heard - {node.vtep}


@pytest.mark.parametrize("plan", PLANS)
def test_the_kernel_gets_the_same(plan: str, tmp_path: Path) -> None:
    there = fleet(tmp_path, PLANS[plan])
    files = tree(there)
    for node in there.nodes():
        quick = sections(files[f"nodes/{node.name}/wg-quick/{node.name}.conf"].text)
        networkd = f"nodes/{node.name}/networkd"
        netdev = sections(files[f"{networkd}/50-{node.name}.netdev"].text)
        tunnel = sections(files[f"{networkd}/50-{node.name}.network"].text)
        (interface,) = quick["Interface"]
        assert interface["PrivateKey"] == netdev["WireGuard"][0]["PrivateKey"]
        assert interface["PrivateKey"] == [node.private_key]
        assert interface["Address"] == [", ".join(tunnel["Network"][0]["Address"])]
        assert interface["MTU"] == netdev["NetDev"][0]["MTUBytes"] == [str(node.mtu)]
        assert quick["Peer"] == netdev["WireGuardPeer"]
        assert [one["PublicKey"] for one in quick["Peer"]] == [
            [peer.public_key] for peer in node.peers
        ]
        assert tunnel["Network"][0]["VXLAN"] == [one.name for one in node.networks]
        for network in node.networks:
            vxlan = sections(files[f"{networkd}/60-{network.name}.netdev"].text)
            overlay = sections(files[f"{networkd}/60-{network.name}.network"].text)
            assert vxlan["VXLAN"][0]["VNI"] == [str(network.vni)]
            assert vxlan["VXLAN"][0]["Local"] == [node.vtep]
            assert [one["Destination"] for one in overlay["BridgeFDB"]] == [
                [remote] for remote in network.remotes
            ]
            assert overlay["Network"][0]["Bridge"] == ([network.bridge] if network.bridge else [])


@pytest.mark.parametrize("plan", PLANS)
def test_the_script_is_one(plan: str, tmp_path: Path) -> None:
    for path, file in tree(fleet(tmp_path, PLANS[plan])).items():
        if path.endswith(".sh"):
            done = subprocess.run(["sh", "-n"], input=file.text, text=True, check=False)
            assert done.returncode == 0
            if linter := shutil.which("shellcheck"):
                subprocess.run([linter, "-"], input=file.text, text=True, check=True)


def test_secrets_are_in_secret_files_alone(tmp_path: Path) -> None:
    there = fleet(tmp_path, TWO_HUBS)
    secrets = {node.private_key for node in there.nodes()}
    secrets |= {peer.preshared_key for node in there.nodes() for peer in node.peers}
    for path, file in tree(there).items():
        if any(secret in file.text for secret in secrets if secret):
            assert file.mode == 0o600, path


def test_a_key_that_stays_on_its_node_is_a_file_there(tmp_path: Path) -> None:
    public = keys.encode(keys.public_key(bytes([1] * 32)))
    text = FLEET + site("a", f'public_key = "{public}"', at=1) + site("b", at=2) + TENANT
    files = tree(fleet(tmp_path, text))
    assert 'private_key_file = "/etc/wgvx/a.key"\n' in files["nodes/a/wgvx/a.toml"].text
    quick = files["nodes/a/wg-quick/a.conf"].text
    assert "PostUp = wg set %i private-key /etc/wireguard/%i.key\n" in quick
    assert "PrivateKey" not in quick
    netdev = files["nodes/a/networkd/50-a.netdev"].text
    assert "PrivateKeyFile=/etc/wireguard/a.key\n" in netdev


def test_a_hub_of_the_kernels_forwards(tmp_path: Path) -> None:
    files = tree(fleet(tmp_path, DUAL))
    script = files["nodes/h1/wg-quick/h1-vxlan.sh"].text
    assert 'sysctl -q -w "net.ipv4.conf.$wg.forwarding=1"' in script
    assert "net.ipv6.conf.all.forwarding=1" in script
    assert "\nIPForward=yes\n" in files["nodes/h1/networkd/50-h1.network"].text
    for path in ("nodes/s1/wg-quick/s1-vxlan.sh", "nodes/s1/networkd/50-s1.network"):
        assert "orward" not in files[path].text.replace("nothing is passed on", "")


# What would change, for people.


def test_no_difference_no_line(tmp_path: Path) -> None:
    files = tree(fleet(tmp_path, MESH))
    assert list(difference(files, files, ())) == []


def test_a_difference_shows_no_secret(tmp_path: Path) -> None:
    before, after = (tree(fleet(tmp_path, MESH)) for _ in range(2))  # with other keys each time
    lines = list(difference(before, after, ()))
    shown = "\n".join(lines)
    found = nodes(tmp_path, MESH).values()
    for files in (before, after):
        for secret in re.findall(
            r"(?im)^(?:private|preshared)_?key ?= ?\"?([A-Za-z0-9+/]{43}=)",
            "\n".join(file.text for file in files.values()),
        ):
            assert secret not in shown
    assert '-private_key = "(secret 1)"' in lines
    assert any(re.fullmatch(r'\+private_key = "\(secret \d+\)"', line) for line in lines)
    assert any(re.fullmatch(r'\+public_key = "[A-Za-z0-9+/]{43}="', line) for line in lines)
    assert len(list(found)) == 3


def test_a_key_to_be_made_is_not_shown_as_settled(tmp_path: Path) -> None:
    there = fleet(tmp_path, MESH)
    lines = list(difference({}, tree(there), there.keyring.unsaved_public()))
    assert '+public_key = "(a new public key)"' in lines
    assert not any(re.search(r"[A-Za-z0-9+/]{43}=", line) for line in lines)


def test_a_mode_is_a_difference() -> None:
    open_, closed = {"x": File("x\n", 0o644)}, {"x": File("x\n", 0o600)}
    assert list(difference(open_, closed, ())) == ["x: mode 0644, to be 0600"]

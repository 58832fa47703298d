"""What goes wrong: the exit status, a message that names the mend, and nothing left behind."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WgvxNode, wgvx_pair
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(60)]


def alone(lab: Lab) -> WgvxNode:
    return WgvxNode(lab.host("a"), "a", 1)


def refused(node: WgvxNode, status: int) -> str:
    """The node does not come up; what it says to that."""
    process = node.launch()
    assert process.wait(20) == status, process
    assert "Traceback" not in process.stderr
    assert "ready" not in process.stdout
    assert node.id.private not in process.stderr
    return process.stderr


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("node", "listen_port", 70000),
        ("node", "address", ["10.254.0.1/33"]),
        ("node", "surprise", 1),
        ("network", "vni", 1 << 24),
        ("network", "mac", "03:00:00:00:00:01"),
        ("network", "tap", "a-name-that-is-too-long"),
        ("network", "udp_port", "vxlan"),
    ],
)
def test_bad_value(lab: Lab, table: str, key: str, value: object) -> None:
    node = alone(lab)
    (node.node if table == "node" else node.networks[0])[key] = value
    message = refused(node, 2)
    assert node.config_path.name in message
    assert key in message
    node.assert_nothing_left()


def test_bad_files(lab: Lab) -> None:
    node = alone(lab)
    node.networks[0]["vni"] = 1
    node.node["private_key_file"] = "no-such.key"
    assert "no-such.key" in refused(node, 2)
    node.host.write("bad.key", "not a key\n")
    node.node["private_key_file"] = "bad.key"
    assert "bad.key" in refused(node, 2)
    node.config_path.write_text("[node\n")
    checked = node.wgvx("check", str(node.config_path), check=False)
    assert checked.returncode == 2
    assert node.config_path.name in checked.stderr
    missing = node.wgvx("up", str(node.host.folder / "absent.toml"), check=False)
    assert missing.returncode == 2
    assert "absent.toml" in missing.stderr


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
)
def test_address_in_use(lab: Lab, family: int, address: str) -> None:
    node = alone(lab)
    with contextlib.closing(node.host.socket(family, socket.SOCK_DGRAM)) as taken:
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind((address, node.id.port))
        assert str(node.id.port) in refused(node, 1)
    node.assert_nothing_left()


def test_a_host_without_ipv6(lab: Lab) -> None:
    """Not a failure: what a kernel booted with ipv6.disable=1 lacks is no more than missed."""
    a, b = wgvx_pair(lab)
    for node in (a, b):
        node.networks[0]["address"] = [f"{node.address[4]}/24"]
        for scope in ("all", "default"):
            node.host.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    a.stop()


def test_tap_deleted_under_a_running_node(lab: Lab) -> None:
    node = alone(lab)
    node.start()
    assert node.process is not None
    family = node.process.family()
    node.host.ip("link", "del", node.tap)
    node.assert_ended(family, 1)
    assert node.tap in node.process.stderr


def test_namespace_of_a_tap_is_missing(lab: Lab) -> None:
    node = alone(lab)
    node.networks[0]["netns"] = "wgvxt-no-such"
    assert "wgvxt-no-such" in refused(node, 1)
    node.assert_nothing_left()


def test_start_that_fails_half_way_leaves_nothing(lab: Lab) -> None:
    node = alone(lab)
    first, second = f"{node.name[:12]}1", f"{node.name[:12]}2"
    node.networks = [
        {"vni": 1, "tap": first, "address": ["10.0.0.1/24"]},
        {"vni": 2, "tap": second, "bridge": "br-no-such"},
    ]
    assert "br-no-such" in refused(node, 1)
    node.assert_nothing_left()
    # And one whose name is taken by something that is no TAP.
    node.host.ip("link", "add", second, "type", "veth", "peer", "other")
    del node.networks[1]["bridge"]
    assert second in refused(node, 1)
    node.keeps = {second}
    node.assert_nothing_left()


def test_start_that_fails_half_way_gives_an_adopted_tap_back(lab: Lab) -> None:
    node = alone(lab)
    node.host.ip("tuntap", "add", "dev", node.tap, "mode", "tap")
    node.host.ip("link", "set", node.tap, "mtu", "1400", "address", "02:00:00:00:00:58")
    node.networks[0]["tap"] = node.tap
    node.networks.append({"vni": 2, "tap": f"{node.name[:12]}2", "bridge": "br-no-such"})
    refused(node, 1)
    node.keeps = {node.tap}
    node.assert_nothing_left()
    (link,) = node.host.ip_json("address", "show", node.tap)
    assert (link["mtu"], link["address"]) == (1400, "02:00:00:00:00:58")
    assert "UP" not in link["flags"]
    assert [row["local"] for row in link["addr_info"]] == []


def test_second_up_of_the_same_name(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    first = a.process
    assert first is not None
    message = refused(a, 1)
    assert a.name in message
    # The first one has not suffered.
    b.start()
    assert_ping(a.host, b.address[4])
    a.process = first
    a.stop()


def test_up_after_sigkill(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    assert a.process is not None
    a.process.send_signal(signal.SIGKILL)
    assert a.process.wait() == -signal.SIGKILL
    stale = [path for path in a.files() if path.is_socket()]
    assert stale != [], "nothing is stale, so this test shows nothing"
    # The TAP of a dead process goes with its last descriptor.
    eventually(lambda: a.tap not in a.host.links(), "the TAP is gone")
    shown = a.wgvx("show", a.name, check=False)
    assert shown.returncode == 1
    a.start()
    assert_ping(a.host, b.address[4], timeout=5)
    assert b.drops("handshake_replay") == 0  # the stamp was reserved ahead, not lost
    a.stop()


def test_state_that_cannot_be_written(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    blocked = a.host.write("a-file", "")
    a.node["state_dir"] = str(blocked / "state")
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    assert a.process is not None
    # One, and on in memory.
    (warning,) = (line for line in a.process.stderr.splitlines() if "warning" in line)
    assert str(blocked) in warning
    a.stop()


def test_key_file_that_others_can_read(lab: Lab) -> None:
    node = alone(lab)
    key = Path(node.host.folder, node.node["private_key_file"])
    key.chmod(0o644)
    node.start()
    assert node.process is not None
    assert key.name in node.process.stderr
    node.stop()


def test_exec_on_a_node_without_a_namespace(lab: Lab) -> None:
    node = alone(lab)
    node.start()
    done = node.wgvx("exec", node.name, "--", "true", check=False)
    assert done.returncode == 2
    assert "--rootless" in done.stderr
    node.stop()


@pytest.mark.parametrize("args", [("show",), ("fdb",), ("down",)])
def test_commands_on_a_node_that_does_not_run(lab: Lab, args: tuple[str, ...]) -> None:
    node = alone(lab)
    done = node.wgvx(*args, node.name, check=False)
    assert done.returncode == 1
    assert node.name in done.stderr
    assert "Traceback" not in done.stderr

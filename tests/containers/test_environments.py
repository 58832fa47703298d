"""What each kind of container allows, end to end with somebody outside, and says of the rest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.containers.container import (
    DOCKERS_CAPABILITIES,
    TUN,
    TUN_VOLUME,
    Container,
)
from tests.containers.documents import RESTRICTED, SIDECAR, compose_options, pod_options
from tests.containers.vm import Vm
from tests.netns.lab import RUN_NETNS, Lab, Namespace, Process, eventually
from tests.netns.nodes import VNI, WGVX, WgvxNode, overlay_address
from tests.netns.ordinary import OrdinaryUser
from tests.netns.traffic import assert_ping
from tests.netns.vxlan_nodes import GoNode

pytestmark = pytest.mark.netns

HERE, BEFOREHAND, PASSED = "TAP made here", "TAP made beforehand", "TAP passed in"
NOBODY = 65534
NAMESPACES, STREAM, DGRAM = "TAP in namespaces", "VM socket, stream", "VM socket, dgram"
STACK = "userspace stack"
DOWNLOAD = 3_000_000  # bytes


class ContainedNode(WgvxNode):
    """A node whose process is a container's first."""

    def __init__(self, lab: Lab, host: Namespace, *options: str, uid: int = 0) -> None:
        self.container = Container(lab, host, *options, uid=uid)
        address = {family: host.address(family) for family in (4, 6)}
        super().__init__(self.container, "a", host.index, address=address)
        self.node["state_dir"] = str(self.container.shared)

    def ports(self) -> dict[str, dict[str, Any]]:
        """The doctor's table."""
        report = json.loads(self.wgvx("doctor", "--json", check=False).stdout)
        return {row.pop("what"): row for row in report["ports"]}

    def allowed(self) -> set[str]:
        return {what for what, row in self.ports().items() if row["ok"]}


def refused(node: WgvxNode, *args: str) -> str:
    """What ``wgvx up`` says as it fails: exit status 1."""
    process = node.launch(*args)
    assert process.wait(20) == 1, process
    assert "Traceback" not in process.stderr
    return process.stderr


def assert_works_without_tap(node: WgvxNode, folder: Path, host: Namespace, outside: str) -> None:
    """A VM, as in another container, and a stack for applications, in one network, and no TAP: both
    answer ``host``, and a file comes through the stack from a server there, at ``outside``.
    """
    vm, stack = node.address[4], overlay_address(101, 4)
    path = folder / "vm.sock"
    proxies = {"socks5": "127.0.0.1:1080", "http": "127.0.0.1:8080"}
    node.networks = [
        {
            "vni": VNI,
            "attach": [
                {"type": "stream", "name": "vm1", "listen": str(path)},
                {"type": "stack", "name": "apps", "address": [f"{stack}/24"], **proxies},
            ],
        }
    ]
    node.start()
    with contextlib.closing(Vm(path, vm)):
        assert_ping(host, vm)
        assert_ping(host, stack)
    body = random.Random(1).randbytes(DOWNLOAD)
    (host.folder / "body").write_bytes(body)
    host.start(sys.executable, "-m", "http.server", "--bind", outside, "8000", log="http")
    eventually(lambda: _answers(host, outside), "the server listens")
    for proxy in ("socks5h://127.0.0.1:1080", "http://127.0.0.1:8080"):
        fetch = ("curl", "--silent", "--show-error", "--fail", "--max-time", "20", "--proxytunnel")
        done = node.place.run(
            *("sh", "-c", '"$@" | sha256sum', "sh", *fetch, "--proxy", proxy),
            *("--noproxy", "", f"http://{outside}:8000/body"),
        )
        assert done.stdout.split()[0] == hashlib.sha256(body).hexdigest(), done.stderr
    assert [one["type"] for one in node.network()["attach"]] == ["stream", "stack"]
    stop_confined(node)


def stop_confined(node: WgvxNode) -> None:
    """End a node that could give up all that it wanted to, within whatever it was given."""
    assert node.process is not None
    assert re.search(r"no capabilities, no new privileges, \d+ system calls", node.process.stderr)
    node.stop()


def _answers(host: Namespace, address: str) -> bool:
    with contextlib.closing(host.socket(socket.AF_INET, socket.SOCK_STREAM)) as client:
        return client.connect_ex((address, 8000)) == 0


@pytest.fixture
def hosts(lab: Lab) -> tuple[Namespace, Namespace]:
    """Of the container, and of somebody outside."""
    made = lab.host("a"), lab.host("b")
    lab.lan(*made)
    return made


@pytest.fixture
def docker(dockers_seccomp: Path) -> tuple[str, ...]:
    """What a container of Docker's has if nothing is said."""
    return (*DOCKERS_CAPABILITIES, "--security-opt", f"seccomp={dockers_seccomp}")


@pytest.fixture
def restricted(dockers_seccomp: Path) -> tuple[str, ...]:
    """A pod of Kubernetes under the profile "restricted", as documented."""
    return (*pod_options(RESTRICTED, "wgvx"), "--security-opt", f"seccomp={dockers_seccomp}")


def outside(node: WgvxNode, host: Namespace) -> WgvxNode:
    """A peer of the node's, running; as it is with containers, the node has to call."""
    other = WgvxNode(host, "b", host.index)
    node.add_peer(other.id, underlay=4, persistent_keepalive=25)
    other.add_peer(node.id, underlay=None)
    other.start()
    return other


def test_a_user_on_a_host(lab: Lab, hosts: tuple[Namespace, Namespace]) -> None:
    """Whose TAPs beforehand, passed in and rootless are tried in tests/netns."""
    user = OrdinaryUser(lab, hosts[0])
    address = {family: hosts[0].address(family) for family in (4, 6)}
    node = WgvxNode(user, "a", 1, address=address)
    said = refused(node)
    assert "this takes CAP_NET_ADMIN" in said
    assert "TAP in namespaces: `wgvx up NAME --rootless`" in said
    assert 'type = "stream"' in said
    other = outside(node, hosts[1])
    assert_works_without_tap(node, user.folder, hosts[1], other.address[4])


def test_root_in_a_default_container(
    lab: Lab, hosts: tuple[Namespace, Namespace], docker: tuple[str, ...]
) -> None:
    """No TAP, yet a VM's socket, with somebody else's WireGuard and the kernel's VXLAN outside."""
    node = ContainedNode(lab, hosts[0], *docker)
    assert node.allowed() == {PASSED, STREAM, DGRAM, STACK}
    said = refused(node)
    assert "this takes CAP_NET_ADMIN" in said
    assert "to have it: `--cap-add NET_ADMIN" in said
    assert 'type = "stream"' in said
    assert 'type = "stack"' in said
    assert "--rootless" not in said
    said = refused(node, "--rootless")
    assert "seccomp=unconfined" in said
    assert 'type = "stream"' in said
    far = GoNode(hosts[1], "b")
    far.start()
    node.add_peer(far.id, underlay=4, persistent_keepalive=25)
    far.add_peer(node.id, underlay=None)
    assert_works_without_tap(node, node.container.shared, hosts[1], far.address[4])


@pytest.mark.parametrize(
    "options",
    [compose_options("wgvx"), pod_options(SIDECAR, "wgvx")],
    ids=["compose", "sidecar"],
)
def test_net_admin(
    lab: Lab, hosts: tuple[Namespace, Namespace], dockers_seccomp: Path, options: tuple[str, ...]
) -> None:
    """A TAP made here: on the device that compose gives, and on one that the sidecar may make."""
    seccomp = ("--security-opt", f"seccomp={dockers_seccomp}")
    node = ContainedNode(lab, hosts[0], *options, *seccomp)
    other = outside(node, hosts[1])
    node.start()
    assert_ping(hosts[1], node.address[4])
    # Without this machine's file capability, which no container without NET_RAW may execute: the
    # image's has none.
    ping = str(shutil.copy(str(shutil.which("ping")), node.container.shared))
    for address in other.address.values():
        node.container.run(ping, "-n", "-c", "1", "-W", "5", address)
    assert HERE in node.allowed()
    assert node.peer(other.id)["endpoint"] == f"{hosts[1].address(4)}:{other.id.port}"
    stop_confined(node)


def test_a_restricted_pod(
    lab: Lab, hosts: tuple[Namespace, Namespace], restricted: tuple[str, ...]
) -> None:
    """Nothing but sockets, and a root that cannot be written to."""
    node = ContainedNode(lab, hosts[0], *restricted, uid=NOBODY)
    table = node.ports()
    for what in (HERE, BEFOREHAND, NAMESPACES):
        assert not table[what]["ok"]
        assert "securityContext: " in table[what]["mend"]
        assert "docker" not in table[what]["mend"]
    for args in ((), ("--rootless",)):
        said = refused(node, *args)
        assert 'type = "stream"' in said
        assert "`wgvx up NAME --rootless`" not in said
    other = outside(node, hosts[1])
    node.start("--auto")
    assert node.process is not None
    assert "instead: stack in this process (--userspace)" in node.process.stderr
    assert_ping(hosts[1], node.address[4])
    node.stop()
    assert_works_without_tap(node, node.container.shared, hosts[1], other.address[4])


@pytest.mark.parametrize("device", [TUN_VOLUME, None], ids=["volume", "docker"])
def test_a_tap_made_beforehand(
    lab: Lab,
    hosts: tuple[Namespace, Namespace],
    docker: tuple[str, ...],
    restricted: tuple[str, ...],
    device: tuple[str, ...] | None,
) -> None:
    """An init container made it, or the host. Docker's root makes the device node by itself."""
    uid = 0 if device is None else NOBODY
    options = docker if device is None else (*restricted, *device)
    node = ContainedNode(lab, hosts[0], *options, uid=uid)
    node.tap = "blue0"
    node.networks = [{"vni": VNI, "tap": node.tap}]
    node.keeps = {node.tap}
    hosts[0].ip("tuntap", "add", "dev", node.tap, "mode", "tap", "user", str(uid))
    hosts[0].ip("link", "set", "dev", node.tap, "mtu", "1350", "up")
    hosts[0].ip("address", "add", f"{node.address[4]}/24", "dev", node.tap)
    assert BEFOREHAND in node.allowed()
    other = outside(node, hosts[1])
    node.start()
    assert_ping(hosts[0], other.address[4])
    stop_confined(node)


# Makes a TAP in a network namespace and becomes a command that has it as descriptor 3.
PARENT = """
import os, sys
from wgvx.ports import tun, userns
home = userns.open_own("net")
userns.setns(os.open(sys.argv[1], os.O_RDONLY), userns.CLONE_NEWNET)
fd = tun.open_node()
tun.attach(fd, sys.argv[2], tun.IFF_TAP | tun.IFF_NO_PI)
userns.setns(home, userns.CLONE_NEWNET)
os.dup2(fd, 3)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def test_a_tap_passed_into_a_pod(
    lab: Lab, hosts: tuple[Namespace, Namespace], restricted: tuple[str, ...]
) -> None:
    node = ContainedNode(lab, hosts[0], *restricted, uid=NOBODY)
    other = outside(node, hosts[1])
    node.tap = "blue0"
    node.networks = [{"vni": VNI, "tap": node.tap}]
    parent = (sys.executable, "-c", PARENT, str(RUN_NETNS / hosts[0].name), node.tap)

    def launch(*args: str) -> Process:
        node.write()
        up = (WGVX, "up", str(node.config_path), "--tap-fd", "3", *args)
        passing = ("--preserve-fds", "1")
        node.process = node.container.start(*up, log="a", through=parent, options=passing)
        return node.process

    node.launch = launch  # type: ignore[method-assign] # started by another parent, once
    node.start()
    hosts[0].ip("link", "set", "dev", node.tap, "mtu", "1350", "up")
    hosts[0].ip("address", "add", f"{node.address[4]}/24", "dev", node.tap)
    assert_ping(hosts[0], other.address[4])
    stop_confined(node)


@pytest.mark.parametrize("who", ["restricted", "podman"])
def test_namespaces(lab: Lab, hosts: tuple[Namespace, Namespace], who: str) -> None:
    """What the doctor says of --rootless: no seccomp profile, or podman's, and /dev/net/tun."""
    options: tuple[str, ...] = TUN
    if who == "restricted":
        unconfined = ("--security-opt", "seccomp=unconfined")
        options = (*pod_options(RESTRICTED, "wgvx"), *unconfined, *TUN)
    node = ContainedNode(lab, hosts[0], *options, uid=NOBODY if who == "restricted" else 0)
    other = outside(node, hosts[1])
    node.start("--rootless")
    assert NAMESPACES in node.allowed()
    inside = ("exec", node.name, "--", "ping", "-c", "1", "-W", "5", other.address[4])
    node.wgvx(*inside)
    stop_confined(node)

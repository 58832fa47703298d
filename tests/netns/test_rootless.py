"""wgvx as an ordinary user: TAPs in a user and network namespace, the socket outside on loopback.

As root these run as somebody else (see ``ordinary.py``); as an ordinary user they run as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab, Process, eventually
from tests.netns.nodes import WGVX, WgvxNode
from tests.netns.ordinary import OrdinaryUser
from tests.netns.traffic import assert_ping

pytestmark = pytest.mark.timeout(90)

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
DEMO_SECONDS = 15

# A command's way to end -> what a shell would say of it.
ENDINGS = [
    (["sh", "-c", "exit 0"], 0),
    (["sh", "-c", "exit 7"], 7),
    (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
    (["./no-such-command"], 127),
    (["./not-executable"], 126),
]


@pytest.fixture
def user(tmp_path: Path) -> Iterator[OrdinaryUser]:
    lab = Lab(tmp_path)
    try:
        someone = OrdinaryUser(lab)
        # What every rootless network needs, asked of the kernel without wgvx.
        probe = someone.run(
            *("unshare", "--user", "--net", "--map-root-user"),
            *("ip", "tuntap", "add", "dev", "probe", "mode", "tap"),
            check=False,
        )
        if probe.returncode != 0:
            pytest.skip(f"no TAP in a user namespace here, see wgvx doctor: {probe.stderr.strip()}")
        yield someone
    finally:
        lab.close()


def free_port() -> int:
    """A UDP port that is free now; on loopback two nodes need one each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def node(user: OrdinaryUser, label: str = "a", index: int = 1) -> WgvxNode:
    return WgvxNode(user, label, index, port=free_port(), address=LOOPBACK)


def two_nodes(user: OrdinaryUser) -> tuple[WgvxNode, WgvxNode]:
    a, b = node(user, "a", 1), node(user, "b", 2)
    a.add_peer(b.id, underlay=4)
    b.add_peer(a.id, underlay=4)
    return a, b


def exec_(on: WgvxNode, *command: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    done = on.wgvx("exec", on.name, *options, "--", *command, check=False)
    return done.returncode, done.stdout


def started(running: WgvxNode) -> Process:
    assert running.process is not None
    return running.process


def test_traffic_between_two_users_nodes(user: OrdinaryUser) -> None:
    a, b = two_nodes(user)
    a.start("--rootless")
    ping = b.launch("--", "ping", "-n", "-c", "5", "-i", "0.3", "-W", "2", a.address[4])
    assert ping.wait(30) == 0, ping
    assert " received" in ping.stdout
    assert f"wgvx: {b.name} ready\n" in ping.stderr
    assert "ready" not in ping.stdout  # standard output is the command's alone
    b.assert_ended(ping.family())

    b.start("--rootless")

    def reached() -> bool:
        return exec_(a, "ping", "-n", "-c", "1", "-W", "1", b.address[6])[0] == 0

    eventually(reached, "IPv6 from a command started later")
    assert a.peer(b.id)["rx_bytes"] > 0
    assert a.drops("handshake_replay") == 0
    a.stop()
    b.wgvx("down", b.name)
    b.assert_nothing_left()


def test_inside(user: OrdinaryUser) -> None:
    """Uid 0, lo up, the TAP as configured, nothing else; the caller's uid outside."""
    a = node(user)
    script = "id -u; ip -json address show; exec touch made-inside"
    process = a.launch("--", "sh", "-c", script)
    assert process.wait(20) == 0, process
    uid, addresses = process.stdout.split("\n", 1)
    assert uid == "0"
    links = {row["ifname"]: row for row in json.loads(addresses) if row}
    assert set(links) == {"lo", a.tap}
    assert "UP" in links["lo"]["flags"]
    assert "UP" in links[a.tap]["flags"]
    found = {row["local"] for row in links[a.tap]["addr_info"]}
    assert set(a.address.values()) <= found
    assert (user.folder / "made-inside").stat().st_uid == user.uid
    a.assert_ended(process.family())


@pytest.mark.parametrize(("command", "status"), ENDINGS)
def test_exit_status_of_the_command(user: OrdinaryUser, command: list[str], status: int) -> None:
    user.write("not-executable", "#!/bin/sh\n")
    a = node(user)
    process = a.launch("--", *command)
    a.assert_ended(process.family(), status)


def test_exit_status_of_exec(user: OrdinaryUser) -> None:
    user.write("not-executable", "#!/bin/sh\n")
    a = node(user)
    a.start("--rootless")
    for command, status in ENDINGS:
        assert exec_(a, *command)[0] == status, command
    assert exec_(a, "id", "-u") == (0, "0\n")
    a.stop()
    assert exec_(a, "true")[0] == 125


def test_failure_of_wgvx_itself_is_125(user: OrdinaryUser) -> None:
    a = node(user)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", a.id.port))
        process = a.launch("--", "touch", "started")
        assert process.wait(20) == 125, process
    assert str(a.id.port) in process.stderr
    assert not (user.folder / "started").exists()
    a.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(user: OrdinaryUser, number: signal.Signals) -> None:
    a = node(user)
    name = number.name.removeprefix("SIG")
    a.start("--", "sh", "-c", f"trap 'exit 9' {name}; echo set; while :; do sleep 0.1; done")
    process = started(a)
    eventually(lambda: process.stdout == "set\n", "the command has started")
    family = process.family()
    process.send_signal(number)
    a.assert_ended(family, 9)


def test_sigint_is_left_to_the_command(user: OrdinaryUser) -> None:
    a = node(user)
    a.start("--", "sh", "-c", "echo set; while [ ! -e stop ]; do sleep 0.1; done; exit 3")
    process = started(a)
    eventually(lambda: process.stdout == "set\n", "the command has started")
    family = process.family()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.returncode() is None
    user.write("stop", "")
    a.assert_ended(family, 3)


def test_a_namespace_per_netns_value(user: OrdinaryUser) -> None:
    a = node(user)
    a.networks = [
        {"vni": 1, "tap": f"{a.name[:12]}r", "netns": "red"},
        {"vni": 2, "tap": f"{a.name[:12]}g", "netns": "green"},
    ]
    a.start("--rootless")
    for network in a.networks:
        status, links = exec_(a, "ip", "-json", "link", options=("--netns", network["netns"]))
        assert status == 0
        assert {row["ifname"] for row in json.loads(links)} == {"lo", network["tap"]}
    a.stop()


def test_without_a_runtime_folder(user: OrdinaryUser) -> None:
    """The control socket is then in a folder of our own under /tmp."""
    del user.env["XDG_RUNTIME_DIR"]
    a = node(user)
    a.start("--rootless")
    folder = Path(f"/tmp/wgvx-{user.uid}")
    assert folder.stat().st_mode & 0o777 == 0o700
    (control,) = [path for path in a.files() if path.parent == folder and path.is_socket()]
    assert control.stat().st_mode & 0o777 == 0o600
    assert a.show()["name"] == a.name
    a.stop()


def test_an_unsafe_folder_in_tmp_is_refused(user: OrdinaryUser) -> None:
    """Somebody else's folder, or one that others may write to, is not trusted."""
    if not user.is_root:
        pytest.skip("needs root, to make a folder that is somebody else's")
    del user.env["XDG_RUNTIME_DIR"]
    folder = Path(f"/tmp/wgvx-{user.uid}")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(0o777)
    try:
        a = node(user)
        process = a.launch("--rootless")
        assert process.wait(20) == 1, process
        assert str(folder) in process.stderr
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


def test_plain_up_names_rootless(user: OrdinaryUser) -> None:
    a = node(user)
    process = a.launch()
    assert process.wait(20) == 1, process
    assert "--rootless" in process.stderr
    assert "Traceback" not in process.stderr
    a.assert_nothing_left()


@pytest.mark.netns
def test_adopts_a_tap_that_the_user_may_open(lab: Lab) -> None:
    """Root makes it ready; the user then needs no namespace and no privilege."""
    a_host, b_host = lab.host("a"), lab.host("b")
    lab.lan(a_host, b_host)
    user = OrdinaryUser(lab, a_host)
    a = WgvxNode(user, "a", 1, address={4: a_host.address(4), 6: a_host.address(6)})
    b = WgvxNode(b_host, "b", 2)
    a.add_peer(b.id, underlay=4)
    b.add_peer(a.id, underlay=4)
    a_host.ip("tuntap", "add", "dev", a.tap, "mode", "tap", "user", str(user.uid))
    a_host.ip("link", "set", a.tap, "mtu", "1350", "up")
    a_host.ip("address", "add", f"{a.address[4]}/24", "dev", a.tap)
    del a.networks[0]["address"]
    a.keeps = {a.tap}
    a.start()
    b.start()
    assert_ping(a_host, b.address[4])
    a.stop()


def test_demo(user: OrdinaryUser) -> None:
    before = _control_sockets(user)
    began = time.monotonic()
    done = user.run(WGVX, "demo", check=False, timeout=60)
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    assert took < DEMO_SECONDS
    assert "Traceback" not in done.stderr
    for word in ("handshake", "ping", "bit/s"):
        assert word in done.stdout.lower(), done.stdout
    assert _control_sockets(user) == before
    if user.is_root:  # nobody else is this user
        assert _processes_of(user.uid) == []


def _control_sockets(user: OrdinaryUser) -> list[Path]:
    folders = [Path(user.env["XDG_RUNTIME_DIR"], "wgvx"), Path(f"/tmp/wgvx-{user.uid}")]
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return sorted(path for path in found if path.is_socket())


def _processes_of(uid: int) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if folder.stat().st_uid == uid:
                    found.append((folder / "cmdline").read_text())
    return found

"""A running node has no power left, and does all that it ever did."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.netns.lab import Lab, Process, eventually
from tests.netns.nodes import WgvxNode, private_key, public_key, wgvx_pair
from tests.netns.ordinary import OrdinaryUser
from tests.netns.test_passed import PassedNode
from tests.netns.test_rootless import node as rootless_node
from tests.netns.traffic import assert_ping
from tests.support.account import UID
from tests.support.dataplanes import NATIVE_MISSING

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

ALL = {"caps": True, "nnp": True, "seccomp": True}
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")
MEGABYTE = 1 << 10
"""In the units of proc_pid_status(5)."""


def status_of(task: Path) -> dict[str, str]:
    lines = (task / "status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


def node_process(process: Process) -> int:
    """Of a command that may have become it, or started it."""
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in process.family()}
    (found,) = [pid for pid, name in names.items() if re.search(rb"bin/wgvx\0up\0", name)]
    return found


def assert_powerless(node: WgvxNode, threads: int = 1) -> None:
    """Every thread of it, by what the kernel says."""
    assert node.process is not None
    pid = node_process(node.process)
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    assert len(tasks) >= threads
    for task in tasks:
        status = status_of(task)
        for name in CAPABILITIES:
            assert int(status[name], 16) == 0, (task, name)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), task
    open_ = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [what for what in open_ if "io_uring" in what]
    assert int(status_of(Path(f"/proc/{pid}"))["VmRSS"].split()[0]) < 60 * MEGABYTE
    assert node.show()["confinement"] == ALL
    assert "wgvx: confined: no capabilities, no new privileges" in node.process.stderr


def hide(node: WgvxNode, module: str, error: str) -> None:
    """Let the node live on a machine where importing this fails."""
    hidden = node.host.folder / "hidden"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text(f"raise {error}\n")
    node.host.env["PYTHONPATH"] = str(hidden)


@pytest.mark.parametrize(
    ("loop", "options"),
    [
        pytest.param(
            "uvloop",
            ("--workers", "4"),
            marks=pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING),
            id="native",
        ),
        pytest.param("asyncio", ("--dataplane", "reference"), id="reference"),
    ],
)
def test_as_root(lab: Lab, loop: str, options: tuple[str, ...]) -> None:
    """With wg(8) setting all that it can, ports and marks that take privilege among it."""
    a, b = wgvx_pair(lab)
    if loop == "asyncio":
        hide(a, "uvloop", "ImportError('not here')")
    a.start(*options)
    b.start()
    assert_ping(a.host, b.address[4])
    assert_powerless(a, 5 if "4" in options else 1)

    a.host.run("wg", "set", a.name, "listen-port", "53", "fwmark", "0x77")
    status = a.show()
    assert status["listen_port"] == 53
    a.host.run("wg", "set", a.name, "fwmark", "0x78")
    assert "fwmark: 0x78" in a.host.run("wg", "show", a.name).stdout
    assert_ping(a.host, b.address[4])
    with a.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 54))
        refused = a.host.run("wg", "set", a.name, "listen-port", "54", check=False)
        assert "Address already in use" in refused.stderr
    assert a.show()["listen_port"] == 53

    key = private_key()
    file = a.host.write("new.key", key + "\n")
    a.host.run("wg", "set", a.name, "private-key", str(file))
    b.host.run("wg", "set", b.name, "peer", a.id.public, "remove")
    b.host.run(
        *("wg", "set", b.name, "peer", public_key(key), "allowed-ips", "10.254.0.1/32"),
        *("endpoint", f"{a.host.address(4)}:53"),
    )
    assert_ping(b.host, a.address[4])
    link_local = next(
        row["local"]
        for row in b.host.ip_json("address", "show", "dev", "eth0")[0]["addr_info"]
        if row["scope"] == "link"
    )
    peer = ("peer", b.id.public, "endpoint", f"[{link_local}%eth0]:{b.id.port}")
    a.host.run("wg", "set", a.name, *peer)
    assert_ping(a.host, b.address[4])
    a.id.port = 53
    a.stop()
    b.wgvx("down", b.name)
    b.assert_nothing_left()


def test_rootless(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    try:
        user = OrdinaryUser(lab)
        a = rootless_node(user)
        a.start("--rootless")
        assert_powerless(a)
        done = a.wgvx("exec", a.name, "--", "ip", "-json", "link", "show", a.tap)
        assert json.loads(done.stdout)[0]["ifname"] == a.tap
        a.wgvx("down", a.name)
        a.assert_nothing_left()
        # COMMAND is outside of it all.
        script = "grep -E '^(NoNewPrivs|Seccomp|CapEff)' /proc/self/status"
        process = a.launch("--", "sh", "-c", script)
        assert process.wait(20) == 0, process
        rows = dict(line.split(":\t") for line in process.stdout.splitlines())
        assert (rows["NoNewPrivs"], rows["Seccomp"]) == ("0", "0")
        assert int(rows["CapEff"], 16) != 0
        a.assert_ended(process.family())
    finally:
        lab.close()


def test_rootless_as_root(lab: Lab) -> None:
    """Its sockets are outside, where the helper may have what takes privilege."""
    a = WgvxNode(lab.host("a"), "a", 1)
    a.start("--rootless")
    assert_powerless(a)
    a.host.run("wg", "set", a.name, "listen-port", "53", "fwmark", "1")
    assert a.show()["listen_port"] == 53
    a.id.port = 53
    a.stop()


def test_without_any_privilege(lab: Lab) -> None:
    """A TAP passed in."""
    host = lab.host("a")
    a = PassedNode(OrdinaryUser(lab, host), host, header=False)
    a.networks = [{"vni": 4200, "tap": "blue0"}]
    a.start()
    assert_powerless(a)
    a.stop()


def test_an_adopted_tap_is_given_back(lab: Lab) -> None:
    a = WgvxNode(lab.host("a"), "a", 1)
    a.host.ip("tuntap", "add", "dev", a.tap, "mode", "tap", "multi_queue")
    before = a.host.ip_json("link", "show", a.tap)[0]
    a.keeps = {a.tap}

    def restored() -> bool:
        now = a.host.ip_json("link", "show", a.tap)[0]
        return all(now[key] == before[key] for key in ("mtu", "address", "flags"))

    a.start()
    assert_powerless(a)
    assert not restored()
    a.stop()
    assert restored()
    # Killed, it cannot ask for it.
    a.start()
    assert a.process is not None
    a.process.send_signal(signal.SIGKILL)
    a.process.wait()
    eventually(restored, "the helper gives the TAP back")
    a.start()
    a.stop()


def test_vms_come_and_go(lab: Lab) -> None:
    """Their sockets are reached by the helper, in folders that are closed to a powerless root."""
    a = WgvxNode(lab.host("a"), "a", 1)
    folder = a.host.folder / "vms"
    folder.mkdir(0o700)
    os.chown(folder, UID, UID)
    stream, ours, theirs = (folder / name for name in ("stream", "ours", "theirs"))
    number = 5000
    a.networks = [
        {
            "vni": 4200,
            "attach": [
                {"type": "stream", "name": "vm1", "connect": str(stream)},
                {"type": "dgram", "name": "vm2", "local": str(ours), "remote": str(theirs)},
                {"type": "stream", "name": "vm3", "connect": f"localhost:{number}"},
            ],
        }
    ]
    a.tap = "none"
    a.start()
    assert_powerless(a)
    frame = b"\xff" * 6 + bytes.fromhex("52540000000188b5") + bytes(50)

    def listening(family: int, address: Any) -> socket.socket:
        made = a.host.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
        made.settimeout(10)
        return made

    for _ in range(2):  # They come, go, and come again.
        with (
            listening(socket.AF_UNIX, str(stream)) as first,
            a.host.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second,
            listening(socket.AF_INET, ("127.0.0.1", number)) as third,
        ):
            second.bind(str(theirs))
            second.settimeout(0.5)
            with first.accept()[0] as vm1, third.accept()[0] as vm3:
                eventually(lambda: not a.network()["down"], "all are connected")

                def delivered(vm1: socket.socket = vm1, second: socket.socket = second) -> bool:
                    vm1.sendall(len(frame).to_bytes(4, "big") + frame)
                    # That a datagram socket has gone is only told by what is lost there.
                    with contextlib.suppress(TimeoutError):
                        return second.recv(2000) == frame
                    return False

                eventually(delivered, "a frame from one VM to the other")
                vm3.settimeout(10)
                assert vm3.recv(4 + len(frame), socket.MSG_WAITALL)[4:] == frame
        stream.unlink()
        theirs.unlink()
    a.stop()
    assert list(folder.iterdir()) == []


def test_stamps_are_kept(lab: Lab) -> None:
    """Behind the back of a node that cannot open a file."""
    a, b = wgvx_pair(lab)
    b.start()
    a.start()
    assert_ping(a.host, b.address[4])
    (file,) = (a.host.folder / "state").glob("*.tai64n")
    reserved = int(file.read_text())
    a.stop()
    assert int(file.read_text()) < reserved  # the last one used, not the bound


def test_the_helper_s_end_is_not_the_node_s(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    b.start()
    a.start()
    assert a.process is not None
    (helper,) = [pid for pid in a.process.family() if pid != node_process(a.process)]
    a.host.run("kill", "-KILL", str(helper))
    assert_ping(a.host, b.address[4])
    refused = a.host.run("wg", "set", a.name, "listen-port", "1000", check=False)
    assert refused.returncode != 0
    assert a.show()["listen_port"] == a.id.port
    a.process.send_signal(signal.SIGTERM)
    assert a.process.wait() == 0
    assert "Traceback" not in a.process.stderr
    assert f"{a.name}.sock is left: " in a.process.stderr


def test_none_of_it(lab: Lab) -> None:
    a = WgvxNode(lab.host("a"), "a", 1)
    a.start("--confine", "none")
    assert a.process is not None
    status = status_of(Path(f"/proc/{node_process(a.process)}"))
    assert int(status["CapEff"], 16) != 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("0", "0")
    assert a.show()["confinement"] == dict.fromkeys(ALL, False)
    assert a.process.family() == [a.process.pid]
    a.stop()


def test_a_system_without_filters(lab: Lab) -> None:
    """The rest is done, and what is missing said once."""
    a = WgvxNode(lab.host("a"), "a", 1)
    hide(a, "pyseccomp", "RuntimeError('Unable to find libseccomp')")
    a.start()
    assert a.process is not None
    status = status_of(Path(f"/proc/{node_process(a.process)}"))
    assert int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "0")
    assert a.show()["confinement"] == ALL | {"seccomp": False}
    (said,) = [line for line in a.process.stderr.splitlines() if "filtered" in line]
    assert "Unable to find libseccomp: `apt-get install libseccomp2`" in said
    a.host.run("wg", "set", a.name, "listen-port", "99")
    a.id.port = 99
    a.stop()


def test_what_is_no_step(lab: Lab) -> None:
    a = WgvxNode(lab.host("a"), "a", 1)
    process = a.launch("--confine", "caps,chroot")
    assert process.wait() == 2
    assert "'caps,chroot': want some of caps,nnp,seccomp, or none" in process.stderr

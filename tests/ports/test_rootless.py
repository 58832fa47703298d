"""Namespaces and TAPs of an ordinary user, and commands run inside."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.netns.lab import eventually
from tests.ports.ordinary import User
from wgvx.ports.namespace import exit_status

PRELUDE = """
import json, os, select, signal, subprocess, sys, time
from ipaddress import ip_interface
from pathlib import Path
from wgvx.ports.errors import PortError
from wgvx.ports.namespace import enter, exit_status
from wgvx.ports.provision import Provisioner, TapRequest

MAC = bytes.fromhex("020000000001")

def children():
    return Path("/proc/thread-self/children").read_text().split()

def output(netns, *command):
    user_fd, net_fd = provisioner.namespace(netns)
    with enter(user_fd, net_fd, command, stdout=subprocess.PIPE) as process:
        return process.communicate()[0].decode()

def status(*command, **popen):
    user_fd, net_fd = provisioner.namespace(None)
    with enter(user_fd, net_fd, command, **popen) as process:
        return exit_status(process.wait())

provisioner = Provisioner.start(rootless=True)
"""


def test_a_tap_as_asked_in_a_namespace_of_its_own(user: User) -> None:
    facts = user.facts(
        PRELUDE
        + """
port = provisioner.tap(
    TapRequest("tap0", MAC, 1350, (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64")))
)
during = len(children())
provisioner.ready()
result = {
    "during": during,
    "ready": children(),
    "addresses": json.loads(output(None, "ip", "-json", "address")),
    "uid": output(None, "id", "-u").strip(),
    "gid": output(None, "id", "-g").strip(),
}
provisioner.close()
result["outside"] = "tap0" in Path("/proc/net/dev").read_text()
print(json.dumps(result))
"""
    )
    assert facts["during"] == 1
    assert facts["ready"] == []
    lo, tap = facts["addresses"]
    assert "UP" in lo["flags"]
    assert (tap["ifname"], tap["mtu"], tap["address"]) == ("tap0", 1350, "02:00:00:00:00:01")
    local = {a["local"]: a for a in tap["addr_info"]}
    assert {"10.0.0.1", "fd00::1"} <= set(local)
    assert "tentative" not in local["fd00::1"]
    assert (facts["uid"], facts["gid"]) == ("0", "0")
    assert facts["outside"] is False


def test_frames_go_both_ways(user: User) -> None:
    """An ARP request written is answered on reading, and a ping inside asks for its target."""
    facts = user.facts(
        PRELUDE
        + """
port = provisioner.tap(TapRequest("tap0", MAC, 1350, (ip_interface("10.0.0.1/24"),)))
provisioner.ready()
def arp(operation):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        frame = port.read()
        if frame is None:
            select.select([port], [], [], 0.5)
        elif frame[12:14] == b"\\x08\\x06" and frame[21] == operation:
            return frame[:42].hex()
request = (
    "ffffffffffff" "020000000002" "0806"
    "0001" "0800" "06" "04" "0001" "020000000002" "0a000002" "000000000000" "0a000001"
)
port.write(bytes.fromhex(request))
reply = arp(2)
user_fd, net_fd = provisioner.namespace(None)
with enter(user_fd, net_fd, ["ping", "-c1", "-W1", "10.0.0.9"], stdout=subprocess.DEVNULL) as ping:
    asked = arp(1)
    ping.kill()
provisioner.close()
print(json.dumps({"reply": reply, "asked": asked}))
"""
    )
    assert facts["reply"].startswith("0200000000020200000000010806")
    assert facts["asked"].endswith("0a000009")


def test_queues_headers_and_segments_for_a_fast_reader(user: User) -> None:
    facts = user.facts(
        PRELUDE
        + """
port = provisioner.tap(
    TapRequest("tap0", MAC, 1350, queues=3, vnet_header=True, gso_max_size=30_000)
)
other = provisioner.tap(TapRequest("tap1", MAC, 1350, queues=2))
provisioner.ready()
result = {
    "queues": [len(port.fds), len(other.fds)],
    "offloads": sorted(port.set_offload(True, True)),
    "link": json.loads(output(None, "ip", "-json", "-details", "link", "show", "tap0")),
    "written": port.write(bytes(60)),
}
provisioner.close()
print(json.dumps(result))
"""
    )
    assert facts["queues"] == [3, 2]
    assert "tso" in facts["offloads"]
    assert facts["written"] is True
    (link,) = facts["link"]
    assert link["gso_max_size"] == 30_000
    assert link["linkinfo"]["info_data"]["vnet_hdr"] is True
    assert link["linkinfo"]["info_data"]["numqueues"] == 3


def test_another_netns_is_another_namespace(user: User) -> None:
    facts = user.facts(
        PRELUDE
        + """
provisioner.tap(TapRequest("tap0", MAC, 1350))
provisioner.tap(TapRequest("tap0", MAC, 1400, netns="blue"))
provisioner.tap(TapRequest("tap1", MAC, 1400, netns="blue"))
provisioner.ready()
result = {}
for netns in (None, "blue"):
    links = json.loads(output(netns, "ip", "-json", "link"))
    result[str(netns)] = [(l["ifname"], l["mtu"], "UP" in l["flags"]) for l in links]
result["same_user"] = provisioner.namespace("blue")[0] == provisioner.namespace(None)[0]
try:
    provisioner.namespace("red")
except PortError as error:
    result["red"] = str(error)
provisioner.close()
print(json.dumps(result))
"""
    )
    assert facts["None"] == [["lo", 65536, True], ["tap0", 1350, True]]
    assert facts["blue"] == [["lo", 65536, True], ["tap0", 1400, True], ["tap1", 1400, True]]
    assert facts["same_user"] is True
    assert "red" in facts["red"]
    assert "blue" in facts["red"]


def test_there_is_no_bridge_to_join(user: User) -> None:
    facts = user.facts(
        PRELUDE
        + """
try:
    provisioner.tap(TapRequest("tap0", MAC, 1350, bridge="br0"))
except PortError as error:
    result = {"error": str(error), "links": json.loads(output(None, "ip", "-json", "link"))}
provisioner.close()
print(json.dumps(result))
"""
    )
    assert "leave `bridge` out" in facts["error"]
    assert [link["ifname"] for link in facts["links"]] == ["lo"]


def test_exit_statuses_of_a_command(user: User) -> None:
    facts = user.facts(
        PRELUDE
        + """
null = {"stderr": subprocess.DEVNULL}
user_fd, net_fd = provisioner.namespace(None)
with enter(net_fd, user_fd, ["true"], **null) as swapped:
    cannot_enter = swapped.wait()
result = {
    "own": [status("true"), status("sh", "-c", "exit 7")],
    "signal": status("sh", "-c", "kill -TERM $$"),
    "not found": status("/no/such/command", **null),
    "not found in PATH": status("no-such-command", **null),
    "not executable": status("/etc/passwd", **null),
    "a folder": status("/", **null),
    "cannot enter": cannot_enter,
}
provisioner.close()
print(json.dumps(result))
"""
    )
    assert facts == {
        "own": [0, 7],
        "signal": 128 + 15,
        "not found": 127,
        "not found in PATH": 127,
        "not executable": 126,
        "a folder": 126,
        "cannot enter": 125,
    }


def test_a_command_starts_clean(user: User) -> None:
    """Default signals, no descriptors of ours, the environment and folder as the caller's."""
    facts = user.facts(
        PRELUDE
        + """
provisioner.tap(TapRequest("tap0", MAC, 1350))
lines = output(None, "cat", "/proc/self/status").splitlines()
masks = dict(line.split(":", 1) for line in lines)
result = {
    "ignored": int(masks["SigIgn"], 16),
    "blocked": int(masks["SigBlk"], 16),
    # 3 is the folder that ls reads.
    "descriptors": output(None, "ls", "/proc/self/fd").split(),
    "path": output(None, "sh", "-c", "echo $PYTHONPATH").strip() == os.environ["PYTHONPATH"],
    "folder": output(None, "pwd").strip() == os.getcwd(),
}
provisioner.close()
print(json.dumps(result))
"""
    )
    assert facts["ignored"] == 0
    assert facts["blocked"] == 0
    assert facts["descriptors"] == ["0", "1", "2", "3"]
    assert facts["path"]
    assert facts["folder"]


def test_a_command_is_root_inside_and_the_caller_outside(user: User, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    tmp_path.chmod(0o777)
    user.facts(
        PRELUDE
        + """
assert status("sh", "-c", "test $(id -u) = 0 && ip link set lo down && touch " + sys.argv[1]) == 0
provisioner.close()
print("{}")
""",
        str(tmp_path / "made"),
    )
    assert (tmp_path / "made").stat().st_uid == user.uid


def test_signals_reach_the_command_itself(user: User) -> None:
    facts = user.facts(
        PRELUDE
        + """
user_fd, net_fd = provisioner.namespace(None)
command = ["sh", "-c", "trap 'exit 3' TERM; echo go; while :; do sleep 0.05; done"]
with enter(user_fd, net_fd, command, stdout=subprocess.PIPE) as process:
    process.stdout.readline()
    process.terminate()
    result = {"status": exit_status(process.wait(10))}
provisioner.close()
print(json.dumps(result))
"""
    )
    assert facts == {"status": 3}


def test_nothing_is_left_after_close_or_death(user: User) -> None:
    """The broker ends with its node, also when nobody closes it, and ignores a terminal's ^C."""
    facts = user.facts(
        PRELUDE
        + """
provisioner.tap(TapRequest("tap0", MAC, 1350))
(broker,) = map(int, children())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(broker, number)
provisioner.tap(TapRequest("tap1", MAC, 1350))
print(json.dumps({"broker": broker, "own_session": os.getsid(broker) == broker}), flush=True)
os._exit(0)
"""
    )
    assert facts["own_session"]
    broker = Path("/proc", str(facts["broker"]))
    eventually(lambda: not broker.exists(), "the broker has ended")


@pytest.mark.parametrize(
    ("returncode", "status"), [(0, 0), (7, 7), (-2, 130), (-9, 137), (255, 255)]
)
def test_exit_status_of_a_returncode(returncode: int, status: int) -> None:
    assert exit_status(returncode) == status


def test_a_command_that_waits_for_a_word(user: User) -> None:
    """With the word it runs; where there will be none, or it is interrupted before, it does not."""
    facts = user.facts(
        PRELUDE
        + """
provisioner.ready()
user_fd, net_fd = provisioner.namespace(None)
def held(act):
    wait_fd, go_fd = os.pipe()
    with enter(user_fd, net_fd, ["echo", "begun"], wait_fd=wait_fd, stdout=subprocess.PIPE,
               stderr=subprocess.STDOUT) as process:
        os.close(wait_fd)
        act(process, go_fd)
        os.close(go_fd)
        said = process.communicate()[0].decode()
        return [said, process.returncode]
def interrupt(process, _):
    # It waits in a pipe, and has the signal's default then.
    while "pipe" not in Path(f"/proc/{process.pid}/wchan").read_text():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait()
result = {
    "told": held(lambda _, go_fd: os.write(go_fd, b"x")),
    "never told": held(lambda *_: None),
    "interrupted": held(interrupt),
}
provisioner.close()
print(json.dumps(result))
"""
    )
    assert facts == {"told": ["begun\n", 0], "never told": ["", 125], "interrupted": ["", -2]}

"""The guest itself: as a place to run commands in, as a process, and as a kernel with WireGuard.

When these fail, the machine cannot carry the other tests of this folder.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from interop.kernel.guest import Guest, stand_in
from interop.kernel.image import OUT
from interop.kernel.packages import obstacle
from interop.kernel.shared import SharedGuest
from interop.peers import KernelNode
from tests.netns.lab import Lab, eventually, sweep
from tests.netns.nodes import WgvxNode, preshared_key
from tests.netns.traffic import assert_neighbours, assert_ping, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _guest_can_be_had() -> None:
    """These tests want a guest even where the host's own kernel would do for others."""
    if reason := obstacle():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest without a network, for all tests that leave it as it was."""
    lab = Lab(tmp_path_factory.mktemp("guest"))
    try:
        made = Guest(lab.host("g"))
        made.ready()
        yield made
    finally:
        lab.close()


def test_a_command(guest: Guest) -> None:
    done = guest.run("sh", "-c", "cat; echo trouble >&2; exit 3", check=False, stdin="a\r\nb")
    assert (done.returncode, done.stdout, done.stderr) == (3, "a\r\nb", "trouble\n")
    with pytest.raises(AssertionError, match="exit 3\ntrouble"):
        guest.run("sh", "-c", "echo trouble >&2; exit 3")
    assert guest.run("sh", "-c", "kill -9 $$", check=False).returncode == -signal.SIGKILL
    assert guest.run("no-such-command", check=False).returncode == 127
    assert guest.run("cat").stdout == ""
    assert guest.run("printf", "%s|", "", "two words", "ä").stdout == "|two words|ä|"


def test_any_bytes_go_both_ways(guest: Guest) -> None:
    data = bytes(range(256)) * 8000
    text = data.decode(errors="surrogateescape")
    done = guest.run("sh", "-c", "tee /dev/stderr", stdin=text)
    assert done.stdout == done.stderr == text
    # Nobody has to read what is offered.
    assert guest.run("true", stdin=text).stdout == ""


def test_a_command_that_hangs(guest: Guest) -> None:
    hangs = "echo begun; sleep 100 & echo $!; trap '' TERM; sleep 100"
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        guest.run("sh", "-c", hangs, timeout=1)
    begun, child = (raised.value.output or b"").split()
    assert begun == b"begun"
    assert guest.run("ls", f"/proc/{child.decode()}", check=False).returncode != 0


def test_commands_at_the_same_time(guest: Guest) -> None:
    def sleep(number: int) -> str:
        return guest.run("sh", "-c", f"sleep 2; echo {number}").stdout

    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(sleep, range(16))) == [f"{number}\n" for number in range(16)]
    assert time.monotonic() - started < 16


def test_a_command_in_the_background(guest: Guest) -> None:
    process = guest.start("sh", "-c", "trap 'echo asked; exit 5' TERM; echo up; read x", log="a")
    assert process.wait() == 1  # standard input is empty
    script = "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.1; done"
    process = guest.start("sh", "-c", script, log="b")
    eventually(lambda: process.stdout == "up\n", "the command has begun")
    assert process.returncode() is None
    with pytest.raises(AssertionError, match="still running"):
        process.wait(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == process.returncode() == 5
    assert process.stdout == "up\nasked\n"
    deaf = guest.start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done", log="deaf")
    eventually(lambda: deaf.stdout == "up\n", "the deaf one has set its trap")
    deaf.end()
    assert deaf.returncode() == -signal.SIGKILL


def test_files_and_namespaces(guest: Guest) -> None:
    place = guest.namespace("away")
    path = place.write("note", "text\n", 0o640)
    assert place.run("cat", path.name).stdout == guest.run("cat", str(path)).stdout == "text\n"
    assert guest.run("stat", "-c", "%a", str(path)).stdout == "640\n"
    place.ip("link", "add", "one", "type", "veth", "peer", "two")
    assert place.links() == {"lo", "one", "two"}
    assert guest.links() == {"lo"}
    assert ping(place, "::1")


def test_the_real_commands_run(guest: Guest) -> None:
    """Not those that busybox has under the same names."""
    for launcher in (["sh", "-c"], ["env", "sh", "-c"], ["timeout", "9", "sh", "-c"]):
        assert "iproute2" in guest.run(*launcher, "ip -Version").stdout
    assert "iputils" in guest.run("timeout", "9", "ping", "-V").stdout


def test_the_clock(guest: Guest) -> None:
    def clock() -> float:
        return float(guest.run("date", "+%s.%N").stdout)

    guest.set_clock(time.time())
    assert abs(clock() - time.time()) < 1
    guest.run("date", "--set", "2020-01-01 00:00:00")
    assert 0 <= clock() - 1577836800 < 10
    guest.set_clock(time.time())


def test_the_death_of_a_guest_is_told(lab: Lab) -> None:
    guest = Guest(lab.host("g"))
    guest.ready()
    process = guest.start("sleep", "100", log="sleep")
    with pytest.raises(AssertionError, match=r"(?s)guest is dead.*sysrq triggered crash"):
        guest.run("sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100")
    assert "sysrq" in guest.console
    for call in (process.returncode, process.wait, guest.links):
        with pytest.raises(AssertionError, match="guest is dead"):
            call()
    lab.close()


def test_a_guest_ends_without_its_owner(lab: Lab) -> None:
    """Also where nobody tells QEMU to: the guest powers off when nobody listens to it."""
    guest = Guest(lab.host("g"))
    guest.ready()
    guest.channel.close()
    assert guest.process.wait() == 0


OWNER = """
import pathlib, sys, time
from interop.kernel.guest import Guest
from tests.netns.lab import Lab
guest = Guest(Lab(pathlib.Path(sys.argv[1])).host("g"))
if sys.argv[2] == "ready":
    guest.ready()
print(guest.process.pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("moment", ["booting", "ready"])
def test_nothing_is_left_of_an_owner_that_was_killed(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path), moment]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = owner.stdout.readline().strip()
        assert "qemu" in Path(f"/proc/{pid}/comm").read_text()
        owner.kill()
    eventually(lambda: not Path(f"/proc/{pid}/exe").exists(), "QEMU has ended")
    sweep()


BUILDER = """
import pathlib, sys
from interop.kernel import image
image.OUT = pathlib.Path(sys.argv[1])
print(image.image().kernel.parent)
"""


def test_two_builds_at_the_same_time(tmp_path: Path) -> None:
    for package in OUT.glob("*.deb"):
        (tmp_path / package.name).symlink_to(package)
    command = [sys.executable, "-c", BUILDER, str(tmp_path)]
    builders = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    (folder,) = {builder.communicate(timeout=120)[0].strip() for builder in builders}
    assert sorted(path.name for path in Path(folder).iterdir()) == ["initramfs", "vmlinuz"]
    left = {path.name for path in tmp_path.iterdir() if path.suffix != ".deb"}
    assert left == {Path(folder).name, "lock"}


def test_two_kernel_nodes_in_one_guest(guest: Guest) -> None:
    a, b = guest.namespace("a"), guest.namespace("b")
    a.ip("link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", "b")
    nodes = []
    for index, place in enumerate((a, b), 1):
        place.ip("link", "set", "eth0", "up")
        place.ip("address", "add", f"192.0.2.{index}/24", "dev", "eth0")
        node = KernelNode(place, place.name, index, address={4: f"192.0.2.{index}"})
        node.start()
        nodes.append(node)
    left, right = nodes
    psk = preshared_key()
    right.add_peer(left.id, underlay=None, psk=psk)
    left.add_peer(right.id, underlay=4, psk=psk, persistent_keepalive=25)
    assert_neighbours(a, left.tap, b, right.tap, right.address.values())
    assert abs(right.latest_handshake(left.id) - time.time()) < 60
    assert re.search(r"\t25\n", left.wg("show", left.name, "persistent-keepalive"))


@pytest.mark.parametrize(("caller", "underlay"), [("wgvx", 4), ("kernel", 6)])
def test_a_kernel_node_and_wgvx(lab: Lab, caller: str, underlay: int) -> None:
    hosts = lab.host("w"), lab.host("k")
    lab.lan(*hosts)
    guest = stand_in(hosts[1])
    ours = WgvxNode(hosts[0], "w", 1)
    address = {family: hosts[1].address(family) for family in (4, 6)}
    theirs = KernelNode(guest, "k", 2, address=address)
    ours.add_peer(theirs.id, underlay=underlay if caller == "wgvx" else None)
    theirs.start()
    if caller == "wgvx":
        theirs.add_peer(ours.id, underlay=None)
    ours.start()
    if caller == "kernel":
        theirs.add_peer(ours.id, underlay=underlay)
    ends = [(ours.host, ours.tap, ours.address), (guest, theirs.tap, theirs.address)]
    if caller == "kernel":
        ends.reverse()
    (a, a_if, a_address), (b, b_if, b_address) = ends
    assert_neighbours(a, a_if, b, b_if, b_address.values())
    assert_neighbours(b, b_if, a, a_if, a_address.values())
    handshake = ours.peer(theirs.id)["latest_handshake"]
    assert abs(handshake - theirs.latest_handshake(ours.id)) <= 1
    for place, far in ((ours.host, theirs.address), (guest, ours.address)):
        assert_ping(place, far[4])
        assert ping(place, far[4], size=theirs.mtu - 28, df=True)
    ours.stop()


def test_a_shared_guest_that_died_is_replaced(tmp_path: Path) -> None:
    """Whoever asks next is not to suffer for it."""
    shared = SharedGuest(tmp_path)
    try:
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            lab = Lab(folder)
            a, b = lab.host("a"), lab.host("b")
            lab.lan(a, b)
            place = shared.stand_in(b)
            assert_ping(a, place.address(4))
            if number == 0:
                with pytest.raises(AssertionError, match="guest is dead"):
                    place.run("sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100")
            lab.close()
    finally:
        shared.close()

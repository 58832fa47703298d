"""The helper does what its plan has and nothing else, whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.node.sites import config, peer
from tests.support.running import Run
from wgvx.config import ConfigError
from wgvx.keys import encode
from wgvx.ports.channel import Channel
from wgvx.ports.errors import PortError
from wgvx.privilege.errands import HelpedErrands
from wgvx.privilege.orders import Plan
from wgvx.privilege.plan import make_plan, names_wanted, needs
from wgvx.privilege.syscalls import Needs
from wgvx.underlay import UnderlayError


class Planned:
    """A helper with a plan in which everything occurs."""

    def __init__(self, folder: Path, channel: Channel) -> None:
        self.channel = channel
        self.stamps = folder / "state" / "a.tai64n"
        self.lock = folder / "a.lock"
        self.vm = folder / "vm.sock"
        self.ours, self.theirs = folder / "ours.sock", folder / "theirs.sock"
        self.other = folder / "other"
        for path in (self.lock, self.other):
            path.touch()
        self.plan = Plan(
            str(self.stamps),
            (str(self.lock), str(self.ours)),
            (str(self.vm),),
            ((str(self.ours), str(self.theirs)),),
            2,
            str(folder / "a.toml"),
            str(folder / "manager"),
            (("lo", None), ("t0", "wgvx-no-such-netns")),
        )

    def refuses(self, op: str, fds: tuple[int, ...] = (), **fields: Any) -> None:
        with pytest.raises(PortError):
            self.channel.ask(op, fds, **fields)


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[Planned]:
    with contextlib.closing(Channel("wgvx.privilege.helper")) as channel:
        made = Planned(tmp_path, channel)
        channel.ask("seal", **asdict(made.plan))
        yield made


def test_stamps_go_to_one_file(planned: Planned) -> None:
    planned.channel.ask("stamp", bound=1234)
    assert planned.stamps.read_text() == "1234\n"
    for bad in (-1, 1 << 63, "1", 1.5, None, [1], True):
        planned.refuses("stamp", bound=bad)
    planned.channel.ask("stamp", bound=5678, path=str(planned.other))
    assert planned.stamps.read_text() == "5678\n"
    assert planned.other.read_text() == ""


def test_mtus_of_the_plan_s_taps_alone(planned: Planned) -> None:
    for bad in (["eth0", None], ["t0", None], ["lo", "x"], ["../lo", None], [None, None], []):
        planned.refuses("mtu", tap=bad, mtu=1300)
    for mtu in (-1, 0, 67, 65407, "1300", None, True):
        planned.refuses("mtu", tap=["lo", None], mtu=mtu)
    with Path("/proc/self/ns/net").open() as one:
        planned.refuses("mtu", (one.fileno(),), tap=["lo", None], mtu=1300)
        # That is no user namespace.
        planned.refuses("mtu", (one.fileno(), one.fileno()), tap=["lo", None], mtu=1300)
    # It is asked for, and is not there.
    with pytest.raises(PortError, match="No such file"):
        planned.channel.ask("mtu", tap=["t0", "wgvx-no-such-netns"], mtu=1300)


def test_only_the_node_s_own_names_are_taken_away(planned: Planned) -> None:
    planned.channel.ask("unlink", path=str(planned.lock))
    assert not planned.lock.exists()
    planned.channel.ask("unlink", path=str(planned.lock))  # gone is gone
    near = planned.lock.parent / "x" / ".." / planned.other.name
    bads: list[Any] = [str(planned.other), str(near), f"{planned.lock}/../other", "", None, 7, []]
    for bad in bads:
        planned.refuses("unlink", path=bad)
    assert planned.other.exists()


def test_the_service_manager_is_told_what_a_node_may_say(planned: Planned) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        planned.refuses("notify", state="ready", status=None)  # It is not there.
        assert planned.plan.manager is not None
        manager.bind(planned.plan.manager)
        planned.channel.ask("notify", state="ready", status="UDP port 51820")
        assert manager.recv(4096) == b"READY=1\nSTATUS=UDP port 51820"
        for state, text in (("stopping", b"STOPPING=1"), ("alive", b"WATCHDOG=1")):
            planned.channel.ask("notify", state=state, status=None, address=str(planned.other))
            assert manager.recv(4096) == text
        planned.channel.ask("notify", state="reloading", status=None)
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        states: list[Any] = ["MAINPID=1", "READY=1", "", None, 1, ["ready"]]
        for state in states:
            planned.refuses("notify", state=state, status=None)
        statuses: list[Any] = ["x\nMAINPID=1", "x" * 201, 7, ["x"]]
        for status in statuses:
            planned.refuses("notify", state="ready", status=status)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)


def test_there_may_be_no_service_manager(tmp_path: Path) -> None:
    with contextlib.closing(Channel("wgvx.privilege.helper")) as channel:
        channel.ask("seal", **asdict(replace(Planned(tmp_path, channel).plan, manager=None)))
        with pytest.raises(PortError, match="no service manager"):
            channel.ask("notify", state="ready", status=None)


def test_sockets_of_vms(planned: Planned) -> None:
    planned.refuses("stream", path=str(planned.vm))  # not there yet
    with socket.socket(socket.AF_UNIX) as vm:
        vm.bind(str(planned.vm))
        vm.listen()
        _, (fd,) = planned.channel.ask("stream", path=str(planned.vm))
        with socket.socket(fileno=fd) as ours, vm.accept()[0] as theirs:
            ours.send(b"frame")
            assert theirs.recv(9) == b"frame"
            assert not os.get_inheritable(fd)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as vm:
        vm.bind(str(planned.theirs))
        _, (fd,) = planned.channel.ask("datagram", path=str(planned.ours))
        with socket.socket(fileno=fd) as ours:
            ours.send(b"frame")
            assert vm.recvfrom(9) == (b"frame", str(planned.ours))
        planned.refuses("stream", path=str(planned.theirs))
        planned.refuses("datagram", path=str(planned.theirs))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(planned.other) + ".sock")
        other.listen()
        planned.refuses("stream", path=str(planned.other) + ".sock")


def test_udp_sockets(planned: Planned) -> None:
    reply, fds = planned.channel.ask("sockets", port=0, fwmark=0)
    assert sorted(reply["workers"]) == sorted([1, 2] * (len(fds) // 2))
    sockets = [socket.socket(fileno=fd) for fd in fds]
    assert len({one.getsockname()[1] for one in sockets}) == 1
    port = sockets[0].getsockname()[1]
    refused, none = planned.channel.ask("sockets", port=port, fwmark=0)
    assert (refused["code"], none) == (errno.EADDRINUSE, [])
    for one in sockets:
        one.close()
    _, again = planned.channel.ask("sockets", port=port, fwmark=0)  # the helper kept none
    for fd in again:
        os.close(fd)
    for bad in (-1, 65536, "53", None, 1.0):
        planned.refuses("sockets", port=bad, fwmark=0)
    for bad in (-1, 1 << 32, "1", None):
        planned.refuses("sockets", port=0, fwmark=bad)


def test_marks_go_on_udp_sockets_alone(planned: Planned) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        reply, _ = planned.channel.ask("mark", [udp.fileno()], fwmark=77)
        if os.geteuid() == 0:
            assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 77
        else:
            assert reply["code"] == errno.EPERM
    for family in (socket.AF_INET, socket.AF_UNIX):
        with socket.socket(family) as other:
            planned.refuses("mark", (other.fileno(),), fwmark=1)
    with planned.other.open() as file:
        planned.refuses("mark", (file.fileno(),), fwmark=1)


def test_one_file_is_read_again(run: Run, tmp_path: Path) -> None:
    """Whatever the node says, and with the key files that it names now."""
    psk = tmp_path / "ab.psk"
    psk.write_text(f"{encode(b'p' * 32)}\n")
    found = config(tmp_path, 1, peer(2, 'preshared_key_file = "ab.psk"'), name="a")
    with contextlib.closing(HelpedErrands(names=False)) as errands:
        for _ in range(2):
            assert run(errands.load(found.path)) == found
            with found.path.open("a") as file:
                file.write("x = 1\n")
            with pytest.raises(ConfigError, match="there is no such key"):
                run(errands.load(found.path))
            config(tmp_path, 1, peer(2, 'preshared_key_file = "ab.psk"'), name="a")
            if not errands._sealed:
                errands.seal(make_plan(found, tmp_path / "stamps", [], 1))
        assert not errands.looks_up_names
        other = config(tmp_path, 2, name="b")
        assert run(errands.load(other.path)) == found
        # A reader that waits, for somebody who writes that key, keeps nobody waiting.
        psk.unlink()
        os.mkfifo(psk)
        started = time.monotonic()
        for _ in range(2):
            _, (fd,) = errands._helper.ask("read")
            os.close(fd)
        errands.store(tmp_path / "stamps", 7)
        assert time.monotonic() - started < 2

        async def two_at_once() -> None:
            first = asyncio.ensure_future(errands.load(found.path))
            await asyncio.sleep(0.1)
            second = asyncio.ensure_future(errands.load(found.path))
            with pytest.raises(ConfigError, match="reading it failed"):
                await first
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)

        run(two_at_once())


def test_nothing_is_set_up_any_more(planned: Planned) -> None:
    planned.refuses("start", rootless=False)
    planned.refuses("start", rootless=True)
    planned.refuses("tap", name="tap0")
    planned.refuses("seal", **asdict(planned.plan))
    planned.refuses("run", command=["true"])
    planned.refuses("")


def test_no_message_ends_it(planned: Planned) -> None:
    sock = planned.channel._sock
    for message in (b"{", b"[]", b"7", b'"x"', b"\xff", b"{}", b'{"op": []}', b"[" * 60000):
        sock.send(message)
        assert b"error" in sock.recv(65536)
    planned.channel.ask("stamp", bound=1)


def test_descriptors_sent_along_are_not_kept(planned: Planned) -> None:
    reading, writing = os.pipe()
    planned.channel.ask("stamp", (writing,), bound=1)
    os.close(writing)
    assert os.read(reading, 1) == b""  # nobody else has the other end
    os.close(reading)


def test_the_plan_follows_from_the_file(tmp_path: Path) -> None:
    vms = f"""
[[network]]
vni = 1
attach = [
    {{ type = "stream", name = "a", listen = "{tmp_path}/a.sock" }},
    {{ type = "stream", name = "b", connect = "{tmp_path}/b.sock" }},
    {{ type = "stream", name = "c", connect = "localhost:5000" }},
    {{ type = "dgram", name = "d", local = "{tmp_path}/d1", remote = "{tmp_path}/d2" }},
]
"""
    found = config(tmp_path, 1, vms)
    plan = make_plan(found, Path("/s"), [Path("/l")], 3)
    assert plan == Plan(
        "/s",
        ("/l", f"{tmp_path}/a.sock", f"{tmp_path}/d1"),
        (f"{tmp_path}/b.sock",),
        ((f"{tmp_path}/d1", f"{tmp_path}/d2"),),
        3,
        f"{tmp_path}/n1.toml",
    )
    assert needs(found) == Needs(streams=True)
    assert names_wanted(found)
    for endpoint, wanted in (
        ("127.0.0.1:1", False),
        ("[::1]:1", False),
        ("[fe80::1%lo]:1", True),
        ("host.test:1", True),
    ):
        one = config(tmp_path, 1, peer(2, f'endpoint = "{endpoint}"'))
        assert names_wanted(one) is wanted


@pytest.mark.parametrize(
    ("attach", "wanted"),
    [
        ('type = "stream", listen = "localhost:5000"', Needs()),
        ('type = "stream", connect = "127.0.0.1:5000"', Needs(streams=True)),
        ('type = "dgram", local = "[::1]:1", remote = "[::1]:2"', Needs(datagrams=True)),
        ('type = "stack", http = "127.0.0.1:8080"', Needs()),
        ('type = "stack", socks5 = "127.0.0.1:1080"', Needs(datagrams=True)),
        ('type = "stack", reverse = ["80:127.0.0.1:8000"]', Needs(streams=True)),
    ],
)
def test_sockets_are_opened_where_the_file_asks_for_it(
    attach: str, wanted: Needs, tmp_path: Path
) -> None:
    address = 'address = ["10.0.0.1/24"]\n' if "stack" in attach else ""
    network = f'[[network]]\nvni = 1\n{address}attach = [{{ name = "a", {attach} }}]\n'
    assert needs(config(tmp_path, 1, network)) == wanted


def test_errands_before_and_after(tmp_path: Path) -> None:
    """The same for the node, whoever does them."""
    stamps, lock = tmp_path / "stamps", tmp_path / "a.lock"
    with contextlib.closing(HelpedErrands(names=False)) as errands:
        for _ in range(2):
            lock.touch()
            errands.store(stamps, 7)
            assert stamps.read_text() == "7\n"
            errands.unlink(lock)
            assert not lock.exists()
            (one, *others) = errands.open_sockets(0, 0, 1)
            with pytest.raises(UnderlayError) as refused:
                errands.open_sockets(one.port, 0, 1)
            assert refused.value.code == errno.EADDRINUSE
            for socket_ in (one, *others):
                socket_.close()
            if not errands._sealed:
                errands.seal(Plan(str(stamps), (str(lock),), (), (), 1, ""))
        errands.unlink(tmp_path)  # not in the plan: said, and no more
        assert tmp_path.exists()

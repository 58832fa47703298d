"""What a service manager is told of a node, whoever tells it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.cli.place import Place, ended
from wgvx.cli.supervision import Supervision

PATIENCE = 20.0


@pytest.mark.parametrize(
    ("environ", "manager", "watchdog"),
    [
        ({}, None, None),
        ({"NOTIFY_SOCKET": "/run/notify"}, "/run/notify", None),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "3000000"}, "@notify", 3.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, "/n", 0.5),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, "/n", None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, "/n", None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "-1"}, "/n", None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, "/n", None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, None, None),
        ({"WATCHDOG_USEC": "3000000"}, None, None),
    ],
)
def test_what_the_environment_says(
    environ: dict[str, str], manager: str | None, watchdog: float | None
) -> None:
    left = {**environ, "PATH": "/bin"}
    assert Supervision.take(left, 7) == Supervision(manager, watchdog)
    assert left == {"PATH": "/bin"}, "for nobody else"


@pytest.fixture
def manager(place: Place) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        path = place.folder / "notify"
        made.bind(str(path))
        path.chmod(0o777)
        made.settimeout(PATIENCE)
        place.env["NOTIFY_SOCKET"] = str(path)
        yield made


@pytest.mark.parametrize("confine", ["none", "caps,nnp,seccomp"])
def test_from_ready_to_the_end(confine: str, place: Place, manager: socket.socket) -> None:
    place.env["WATCHDOG_USEC"] = "200000"
    node = place.up("--confine", confine)
    ready = f"READY=1\nSTATUS=UDP port {place.port}, 0 peers, 0 networks".encode()
    assert manager.recv(4096) == ready
    assert [manager.recv(4096) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    assert place.wgvx("reload", "a").returncode == 0
    told = [manager.recv(4096)]
    while told[-1] != ready:
        told.append(manager.recv(4096))
    assert any(one.startswith(b"RELOADING=1\nMONOTONIC_USEC=") for one in told)
    assert manager.recv(4096) == b"WATCHDOG=1"
    node.send_signal(signal.SIGTERM)
    while (one := manager.recv(4096)) == b"WATCHDOG=1":
        pass
    assert one == b"STOPPING=1"
    assert ended(node)[0] == 0
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@pytest.mark.parametrize("by", ["signal", "command"])
@pytest.mark.parametrize("confine", ["none", "caps,nnp,seccomp"])
def test_the_end_of_one_that_reloads(
    confine: str, by: str, place: Place, manager: socket.socket
) -> None:
    """A file that nobody writes to has it wait."""
    node = place.up("--confine", confine)
    assert manager.recv(4096).startswith(b"READY=1")
    file = place.folder / "wgvx/a.toml"
    file.unlink()
    os.mkfifo(file)
    place.own()
    if by == "signal":
        node.send_signal(signal.SIGHUP)
    else:
        place.start("reload", "a")
    assert manager.recv(4096).startswith(b"RELOADING=1")
    node.send_signal(signal.SIGTERM)
    assert manager.recv(4096) == b"STOPPING=1"
    assert ended(node) == (0, "")
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


def test_a_command_knows_nothing_of_it(rootless: Place, manager: socket.socket) -> None:
    done = rootless.wgvx("up", "a", "--", "sh", "-c", "echo [$NOTIFY_SOCKET]")
    assert done.stdout == "[]\n", done.stderr
    assert manager.recv(4096).startswith(b"READY=1\n")


def test_a_manager_that_is_not_there_is_no_reason_to_fail(place: Place) -> None:
    place.env["NOTIFY_SOCKET"] = str(place.folder / "nowhere")
    node = place.up()
    node.send_signal(signal.SIGTERM)
    status, log = ended(node)
    assert status == 0
    assert "wgvx: warning: the service manager is not told (ready): " in log

"""VMs' sockets as an event loop sees them: they come, send, go and come again."""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from wgvx.config import DgramAttach, EndpointName, StreamAttach
from wgvx.ports import outside, vm
from wgvx.ports.errors import PortError
from wgvx.ports.vm import DgramPort, StreamPort, VmPort

FRAME = bytes(range(60))
PATIENCE = 5.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "RETRY", 0.01)


@asynccontextmanager
async def opened(port: VmPort) -> AsyncIterator[list[tuple[int, ...]]]:
    """An open port, and its descriptors at each change."""
    changes: list[tuple[int, ...]] = []
    port.open(lambda: changes.append(port.fds))
    try:
        yield changes
    finally:
        port.close()
        assert port.fds == ()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def frame_of(port: VmPort) -> bytes:
    got: list[bytes] = []

    def read() -> bool:
        got.extend(filter(None, (port.read(),)))
        return bool(got)

    await until(read)
    return got[0]


def packed(frame: bytes) -> bytes:
    return struct.pack("!I", len(frame)) + frame


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def client(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(path))
    made.settimeout(PATIENCE)
    return made


def listening(path: Path) -> StreamPort:
    return StreamPort(StreamAttach("vm1", path, listen=True))


@asynccontextmanager
async def visited(path: Path) -> AsyncIterator[tuple[StreamPort, socket.socket]]:
    """A port that waits there, and the VM that has come."""
    port = listening(path)
    async with opened(port):
        with client(path) as connected:
            await until(lambda: port.fds)
            yield port, connected


def test_frames_pass_both_ways_and_the_vm_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "vm.sock"

    async def test() -> None:
        port = listening(path)
        async with opened(port) as changes:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            for _ in range(2):
                with client(path) as connected:
                    await until(lambda: port.fds)
                    whole = packed(FRAME) + packed(FRAME[:20])
                    connected.send(whole[:3])
                    await asyncio.sleep(0.01)
                    assert port.read() is None
                    connected.send(whole[3:])
                    assert await frame_of(port) == FRAME
                    assert await frame_of(port) == FRAME[:20]
                    assert port.read() is None
                    assert port.write(FRAME)
                    assert connected.recv(1000) == packed(FRAME)
                assert port.read() is None
                await until(lambda: not port.fds)
                assert not port.write(FRAME)
            assert [len(fds) for fds in changes] == [1, 0, 1, 0]
        assert not path.exists()

    run(test)


def test_the_last_one_to_connect_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "vm.sock"

    async def test() -> None:
        port = listening(path)
        async with opened(port):
            with client(path) as first:
                await until(lambda: port.fds)
                before = port.fds
                with client(path) as second:
                    await until(lambda: port.fds != before)
                    taken_over = f"another connection to {path} takes the place of the one before"
                    assert [
                        one.getMessage() for one in caplog.records if one.levelname == "WARNING"
                    ] == [f"VM vm1: {taken_over}"]
                    assert first.recv(1) == b""
                    second.send(packed(FRAME))
                    assert await frame_of(port) == FRAME

    run(test)


def test_a_storm_of_connections_leaves_the_last_one_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "vm.sock"
    caplog.set_level("INFO")

    async def test() -> None:
        port = listening(path)
        async with opened(port):
            descriptors = len(list(Path("/proc/self/fd").iterdir()))
            for number in range(300):
                before = port.fds
                with client(path) as connected:
                    await until(lambda before=before: port.fds not in ((), before))  # type: ignore[misc]
                    # The most that may be announced, and half of it; every third goes at once.
                    connected.send(struct.pack("!I", vm.MAX_FRAME) + bytes(30000))
                    if number % 3:
                        assert port.read() is None
                        assert port.write(FRAME)
                # The loop that reads is not told that it has gone: the next one replaces it.
            assert len(port._in) < 2 * 30004
            assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1
            with client(path) as connected:
                before = port.fds
                await until(lambda: port.fds != before)
                connected.send(packed(FRAME))
                assert await frame_of(port) == FRAME

    run(test)
    assert 2 <= len(caplog.records) <= vm.LINES


@pytest.mark.parametrize("length", [0, 1, vm.MAX_FRAME])
def test_a_frame_may_be_cut_at_each_byte(tmp_path: Path, length: int) -> None:
    frame = bytes(length)

    async def test() -> None:
        async with visited(tmp_path / "vm.sock") as (port, connected):
            whole = packed(frame)
            for at in range(min(len(whole), 70)):
                connected.send(whole[at : at + 1])
                if at + 1 < len(whole):
                    assert port.read() is None
            connected.setblocking(False)
            rest = whole[70:]
            got = None
            while got is None:
                rest = rest[connected.send(rest[:20000]) if rest else 0 :]
                got = port.read()
            assert got == frame

    run(test)


def test_datagrams_of_strangers_are_not_the_vms(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guest,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            guest.bind(("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                ours = EndpointName(*probe.getsockname())
            really = outside.bound

            def bound(*place: Any) -> socket.socket:
                sock = really(*place)
                for _ in range(5):  # In the moment before it is connected.
                    stranger.sendto(b"stranger" * 8, (ours.host, ours.port))
                return sock

            monkeypatch.setattr(outside, "bound", bound)
            port = DgramPort(DgramAttach("vm1", ours, EndpointName(*guest.getsockname())))
            async with opened(port):
                await until(lambda: port.fds)
                stranger.sendto(b"stranger" * 8, (ours.host, ours.port))
                assert port.read() is None
                guest.sendto(FRAME, (ours.host, ours.port))
                assert await frame_of(port) == FRAME

    run(test)


def test_a_length_that_no_frame_has_ends_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "vm.sock"

    async def test() -> None:
        async with visited(path) as (port, connected):
            connected.send(struct.pack("!I", vm.MAX_FRAME + 1))
            await asyncio.sleep(0.01)
            assert port.read() is None
            await until(lambda: not port.fds)

    run(test)


def test_what_a_slow_vm_does_not_read_waits_and_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "vm.sock"

    async def test() -> None:
        async with visited(path) as (port, connected):
            sent = 0
            while port.write(sent.to_bytes(4, "big") + bytes(1400)):
                sent += 1
            assert sent * 1404 < 2 * (vm.WAITING + 4 * vm.BUFFER)
            data = b""
            connected.setblocking(False)
            while len(data) < sent * 1408:
                try:
                    data += connected.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            numbers = [
                int.from_bytes(data[at + 4 : at + 8], "big") for at in range(0, len(data), 1408)
            ]
            assert numbers == list(range(sent))
            assert port.write(FRAME)

    run(test)


def test_a_left_over_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "vm.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))

    async def test() -> None:
        async with opened(listening(path)):
            with pytest.raises(PortError, match="another process has this socket"):
                listening(path).open(lambda: None)
            assert path.exists()

    run(test)


@pytest.mark.parametrize("name", ["file", "none/vm.sock"])
def test_a_place_where_no_socket_can_be_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (tmp_path / "file").write_text("precious")
    dgram = DgramPort(DgramAttach("vm1", path, tmp_path / "far"))

    async def test() -> None:
        for port, key in ((listening(path), "listen"), (dgram, "local")):
            with pytest.raises(PortError, match=f"VM vm1, {key}: {path}: "):
                port.open(lambda: None)

    run(test)
    assert (tmp_path / "file").read_text() == "precious"


def test_it_goes_to_a_vm_that_listens_and_finds_it_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "vm.sock"
    caplog.set_level("INFO")

    async def test() -> None:
        port = StreamPort(StreamAttach("vm1", path, listen=False))
        async with opened(port):
            await asyncio.sleep(0.02)
            for _ in range(2):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
                    server.bind(str(path))
                    server.listen()
                    await until(lambda: port.fds)
                    connected, _ = server.accept()
                    with connected:
                        connected.send(packed(FRAME))
                        assert await frame_of(port) == FRAME
                path.unlink()
                assert port.read() is None
                await until(lambda: not port.fds)

    run(test)
    # Each change once, however often it was looked for.
    absent = f"VM vm1 is not at {path} yet: No such file or directory; trying on"
    gone = "VM vm1 is gone: Connection reset by peer"
    said = [absent, "VM vm1 is here", gone, "VM vm1 is here", gone]
    assert [record.getMessage() for record in caplog.records] == said


def test_over_tcp_too() -> None:
    async def test() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = probe.getsockname()[1]
        port = StreamPort(StreamAttach("vm1", EndpointName("127.0.0.1", number), listen=True))
        async with opened(port):
            with socket.create_connection(("127.0.0.1", number)) as connected:
                connected.send(packed(FRAME))
                await until(lambda: port.fds)
                assert await frame_of(port) == FRAME

    run(test)


def test_datagrams_of_a_vm_that_comes_goes_and_comes_again(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"

    async def test() -> None:
        port = DgramPort(DgramAttach("vm1", ours, theirs))
        async with opened(port):
            for _ in range(2):
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as guest:
                    guest.bind(str(theirs))
                    guest.settimeout(PATIENCE)
                    await until(lambda: port.fds)
                    guest.sendto(FRAME, str(ours))
                    assert await frame_of(port) == FRAME
                    assert port.write(FRAME)
                    assert guest.recv(1000) == FRAME
                theirs.unlink()
                assert not port.write(FRAME)
                await until(lambda: not port.fds)
        assert not ours.exists()

    run(test)


def test_datagrams_over_udp_go_on_when_nobody_receives_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guest:
            guest.bind(("127.0.0.1", 0))
            guest.settimeout(PATIENCE)
            theirs = EndpointName(*guest.getsockname())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                ours = EndpointName(*probe.getsockname())
            port = DgramPort(DgramAttach("vm1", ours, theirs))
            async with opened(port) as changes:
                await until(lambda: port.fds)
                port.lost(errno.ECONNREFUSED)
                await until(lambda: len(changes) == 2)
                guest.sendto(FRAME, (ours.host, ours.port))
                assert await frame_of(port) == FRAME
                assert port.write(FRAME)
                assert guest.recv(1000) == FRAME
            said = f"VM vm1 is sent to at {theirs}, there or not: UDP does not tell"
            assert [record.getMessage() for record in caplog.records] == [said]

    run(test)


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    async def test() -> None:
        async with visited(tmp_path / "vm.sock"):
            pass

    run(test)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""The UAPI's socket: as wg(8) uses it, and as somebody else might."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.node.sites import NETWORK, config, deliver, peer, peer_of, point, port_of, running
from tests.node.sites import public as public_key
from tests.support.running import Run
from wgvx.control import uapi_server, unix
from wgvx.control.uapi_server import UapiServer
from wgvx.node import Node

PREFIXES = 100_000
PAUSE = 0.4
"""Seconds of processor time for which no request may keep packets waiting (0.1 s are usual)."""


@asynccontextmanager
async def served(folder: Path, *tables: str) -> AsyncIterator[Node]:
    """A node that wg(8) can talk to."""
    async with running(config(folder, 1, *tables)) as node:
        uapi = UapiServer(node)
        try:
            await uapi.start()
            yield node
        finally:
            await uapi.close()
            await asyncio.sleep(0.01)  # Let the connections see their end.


def socket_of(folder: Path) -> Path:
    return folder / "wireguard" / "n1.sock"


class Caller:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, text: str) -> str:
        """One operation's answer; empty where the connection ended instead."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(text.encode("utf-8", "surrogateescape"))
            await self.writer.drain()
        answer = bytearray()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                while data := await self.reader.read(1 << 20):
                    answer += data
                    if answer.endswith(b"\n\n"):
                        return answer.decode()
        return ""


@asynccontextmanager
async def calling(folder: Path) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_unix_connection(str(socket_of(folder)))
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        await asyncio.sleep(0)


def test_several_operations_on_one_connection(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with served(folder, peer(2), NETWORK) as node, calling(folder) as caller:
            for _ in range(3):
                assert f"listen_port={node.listen_port}\n" in await caller.ask("get=1\n\n")
                assert await caller.ask("set=1\nlisten_port=x\n\n") == "errno=-22\n\n"
                assert await caller.ask("set=1\nnonsense\n\n") == "errno=-71\n\n"
                assert await caller.ask("set=1\n\n") == "errno=0\n\n"
            # Sent at once, and in pieces.
            both = await caller.ask("set=1\nreplace_peers=true\n\nset=1\nx=\n\n")
            assert both in ("errno=0\n\n", "errno=0\n\nerrno=-22\n\n")
            if both == "errno=0\n\n":
                assert await caller.ask("") == "errno=-22\n\n"
            caller.writer.write(b"se")
            await asyncio.sleep(0.005)
            assert await caller.ask("t=1\n\n") == "errno=0\n\n"
            assert node.engine.peers == {}

    run(scenario())


def test_an_empty_probe_connection(run: Run, folder: Path) -> None:
    """wg(8) opens and closes one before each request."""

    async def scenario() -> None:
        async with served(folder, NETWORK):
            for _ in range(3):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(socket_of(folder)))
                await asyncio.sleep(0.005)
            async with calling(folder) as caller:
                assert "errno=0" in await caller.ask("get=1\n\n")

    run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "nonsense\n\n",
        "get=2\n\n",
        "get=1\nx=1\n\n",
        "set=1\n" + "x" * 5000 + "=1\n\n",
        "\udcff\n\n",
        "set=1\nprivate_key=\udc80\n\n",
        "x" * 100_000,
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_ends_the_connection_ends_no_other(text: str, run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with served(folder, peer(2), NETWORK), calling(folder) as other:
            async with calling(folder) as caller:
                assert await caller.ask(text) == ""
            assert "errno=0" in await other.ask("get=1\n\n")

    run(scenario())


def test_a_request_cut_off_changes_nothing(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with served(folder, peer(2), NETWORK) as node:
            for cut in ("set=1\nreplace_peers=true\n", "set=1\nreplace_peers=true"):
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.connect(str(socket_of(folder)))
                    caller.sendall(cut.encode())
                await asyncio.sleep(0.01)
            assert list(node.engine.peers) == [public_key(2)]

    run(scenario())


def test_a_request_that_never_ends_is_cut_off(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi_server, "LONGEST_REQUEST", 10_000)

    async def scenario() -> None:
        async with served(folder, NETWORK), calling(folder) as caller:
            assert await caller.ask("set=1\n" + "allowed_ip=10.0.0.0/8\n" * 1000) == ""

    run(scenario())


def test_a_caller_that_does_not_read(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as slow:
            async with served(folder, peer(2), NETWORK):
                slow.connect(str(socket_of(folder)))
                slow.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        slow.send(b"get=1\n\n" * 100)
                        await asyncio.sleep(0.001)
                async with calling(folder) as caller:
                    assert "errno=0" in await caller.ask("get=1\n\n")

    run(scenario())


def test_the_socket_is_as_wg_expects_it_and_gone_with_the_node(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        previous = os.umask(0o022)
        try:
            async with served(folder, NETWORK):
                path = socket_of(folder)
                assert stat.S_ISSOCK(path.stat().st_mode)
                assert stat.S_IMODE(path.stat().st_mode) == 0o700
                assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
            assert not path.exists()
            # A killed node's: replaced.
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(path))
            async with served(folder, NETWORK), calling(folder) as caller:
                assert "errno=0" in await caller.ask("get=1\n\n")
        finally:
            os.umask(previous)

    run(scenario())


def test_another_programs_socket_is_left_alone(
    run: Run, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """wireguard-go with an interface of the same name."""

    async def scenario() -> None:
        path = socket_of(folder)
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            async with served(folder, NETWORK):
                assert "another program's" in caplog.text
            assert path.exists()

    run(scenario())


def test_where_the_folder_cannot_be_written_there_is_none(
    run: Run, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        (folder / "wireguard").write_text("in the way")
        async with served(folder, NETWORK):
            said = [r.getMessage() for r in caplog.records if "wg(8)" in r.getMessage()]
            assert len(said) == 1
            assert "None" not in said[0]
            assert "File exists" in said[0]

    run(scenario())


def test_an_ordinary_user_is_told_what_to_use_instead(
    run: Run, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(unix, "listen", refuse)

    async def scenario() -> None:
        async with served(folder, NETWORK):
            said = "wg(8) cannot see this node (that takes root); `wgvx show n1` can"
            assert said in [r.getMessage() for r in caplog.records]

    run(scenario())


# As many prefixes as there may be.


class Pulse:
    """How long the loop was held up, at worst."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.ensure_future(self._beat())

    async def _beat(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now

    async def stop(self) -> float:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return self.longest


def many() -> str:
    half = range(PREFIXES // 2)
    ipv4 = (f"allowed_ip=100.{n >> 16}.{n >> 8 & 255}.{n & 255}/32\n" for n in half)
    ipv6 = (f"allowed_ip=fd00:{n >> 16:x}:{n & 0xFFFF:x}::/48\n" for n in half)
    return "".join((*ipv4, *ipv6))


def test_a_hundred_thousand_prefixes_in_one_request(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with (
            running(config(folder, 2, peer(1), NETWORK)) as far,
            served(folder, peer(2), NETWORK) as node,
            calling(folder) as caller,
        ):
            point(node, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(node), port_of(far), b"before")
            request = f"set=1\npublic_key={public_key(3).hex()}\n{many()}\n"
            pulse = Pulse()
            begun = time.perf_counter()
            asking = asyncio.ensure_future(caller.ask(request))
            delivered = 0
            while not asking.done():
                await deliver(port_of(node), port_of(far), delivered.to_bytes(4, "big"))
                delivered += 1
            assert await asking == "errno=0\n\n"
            took = time.perf_counter() - begun
            assert await pulse.stop() < PAUSE
            assert took < 20
            assert delivered > 3
            assert len(node.dataplane.allowed_ips(peer_of(node, 3).id)) == PREFIXES

            pulse = Pulse()
            await asyncio.sleep(0)
            answer = await caller.ask("get=1\n\n")
            assert await pulse.stop() < PAUSE
            assert answer.count("allowed_ip=") == PREFIXES + 2

            # And small ones stay quick.
            pulse = Pulse()
            await asyncio.sleep(0)
            assert await caller.ask("set=1\n\n") == "errno=0\n\n"
            assert await pulse.stop() < PAUSE / 4

    run(scenario())

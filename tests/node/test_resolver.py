"""Endpoint names: looked up off the loop, kept trying, looked up again when handshakes fail."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.sites import (
    NETWORK,
    config,
    deliver,
    make_node,
    peer,
    peer_of,
    point,
    port_of,
    public,
    running,
    until,
)
from tests.support.running import Run
from wgvx import node as node_module
from wgvx.config import EndpointName
from wgvx.node import Node
from wgvx.resolver import resolve
from wgvx.underlay import UdpSocket
from wgvx.wireguard.sessions import Endpoint

BOTH = frozenset((4, 16))
NAME = EndpointName("peer.test", 51820)
KEEPALIVE = "persistent_keepalive = 1"


class Names:
    """A name server in place of the machine's: numeric hosts are themselves, as ever."""

    def __init__(self) -> None:
        self.answer: Callable[[], list[str]] = self.nothing
        self.asked: list[str] = []
        self.release = threading.Event()
        self._really = socket.getaddrinfo

    def nothing(self) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def hang(self) -> list[str]:
        self.release.wait(30)
        return self.nothing()

    def __call__(self, host: str, port: int, **more: Any) -> list[Any]:
        if host != NAME.host:
            return self._really(host, port, **more)
        self.asked.append(host)
        found = []
        for address in self.answer():
            found += self._really(address, port, **more)
        return found


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    monkeypatch.setattr(node_module, "NAME_RETRY", (0.02, 0.05))
    yield made
    made.release.set()
    for thread in threading.enumerate():
        if thread.name == "resolver":
            thread.join(5)


def endpoint_of(node: Node, number: int) -> Endpoint | None:
    return node.dataplane.endpoint(peer_of(node, number).id)


# One lookup.


@pytest.mark.parametrize(
    ("answer", "families", "found"),
    [
        (["2001:db8::1", "192.0.2.1"], {4, 16}, "2001:db8::1"),
        (["2001:db8::1", "192.0.2.1"], {4}, "192.0.2.1"),
        (["192.0.2.1", "2001:db8::1"], {16}, "2001:db8::1"),
        (["2001:db8::1"], {4}, None),
        ([], {4, 16}, None),
    ],
)
def test_the_first_address_of_a_family_that_we_have(
    answer: list[str], families: set[int], found: str | None, run: Run, names: Names
) -> None:
    names.answer = lambda: answer
    endpoint = run(resolve(NAME, frozenset(families)))
    if found is None:
        assert endpoint is None
    else:
        family = socket.AF_INET6 if ":" in found else socket.AF_INET
        assert endpoint == Endpoint(socket.inet_pton(family, found), NAME.port)


@pytest.mark.parametrize(
    "host", ["192.0.2.300", "x" * 64 + ".test", "a..b", "fe80::1%no-such-device", "nul\0"]
)
def test_what_no_lookup_can_take_is_no_address(host: str, run: Run) -> None:
    assert run(asyncio.wait_for(resolve(EndpointName(host, 1), BOTH), 10)) is None


def test_an_answer_after_the_caller_has_gone_hurts_nobody(run: Run, names: Names) -> None:
    names.answer = names.hang

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolve(NAME, BOTH), 0.02)
        names.release.set()
        await asyncio.sleep(0.02)

    run(scenario())


# A node's names.


def test_a_name_that_fails_and_then_succeeds(
    run: Run, names: Names, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 2, peer(1), NETWORK)) as far:
            there = peer(2, f'endpoint = "{NAME.host}:{far.listen_port}"', KEEPALIVE)
            node = make_node(config(tmp_path, 1, there, NETWORK))
            starting = asyncio.ensure_future(node.start())
            try:
                await until(lambda: len(names.asked) >= 3)
                names.answer = lambda: ["127.0.0.1"]
                await starting
                await deliver(port_of(node), port_of(far), b"found")
                # The keepalive spoke as soon as there was an address, without any traffic.
                assert node.engine.device.latest_handshake(peer_of(node, 2).id)
                asked = len(names.asked)
                await asyncio.sleep(0.15)
                assert len(names.asked) == asked
            finally:
                await node.close()
        said = [r.getMessage() for r in caplog.records if "has no address yet" in r.getMessage()]
        assert said
        assert f"{NAME.host}:" in said[0]

    run(scenario())


def test_the_start_waits_for_names_so_long_and_no_longer(
    run: Run, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "NAME_PATIENCE", 0.1)
    names.answer = names.hang

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        there = peer(2, f'endpoint = "{NAME}"')
        begun = loop.time()
        async with running(config(tmp_path, 1, there, NETWORK)) as node:
            assert 0.09 <= loop.time() - begun < 2
            assert endpoint_of(node, 2) is None
            assert node.tunnel_mtu == 1420
            # It comes in later, all the same.
            names.answer = lambda: ["127.0.0.9"]
            names.release.set()
            await until(lambda: endpoint_of(node, 2) is not None)

    run(scenario())


def test_a_lookup_that_hangs_blocks_neither_the_loop_nor_the_end(
    run: Run, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "NAME_PATIENCE", 0.05)
    names.answer = names.hang

    async def scenario() -> None:
        async with running(config(tmp_path, 2, peer(1), NETWORK)) as far:
            tables = (peer(2), peer(3, f'endpoint = "{NAME}"', KEEPALIVE), NETWORK)
            node = make_node(config(tmp_path, 1, *tables))
            await node.start()
            point(node, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(node), port_of(far), b"meanwhile")
            begun = time.monotonic()
            await node.close()
            await asyncio.sleep(0)
            assert time.monotonic() - begun < 1
            assert node._lookups == {}

    run(scenario())


def test_a_lookup_that_hangs_does_not_delay_the_exit() -> None:
    script = (
        "import asyncio, socket, time\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(60)\n"
        "from wgvx.config import EndpointName\n"
        "from wgvx.loop import run\n"
        "from wgvx.resolver import resolve\n"
        "async def main():\n"
        "    asyncio.ensure_future(resolve(EndpointName('x', 1), frozenset((4,))))\n"
        "    await asyncio.sleep(0.05)\n"
        "run(main())\n"
        "print('ended')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def fail_handshakes(node: Node, number: int) -> None:
    """As when the time for an answer has passed."""
    node.engine.device._timers._unreachable.add(peer_of(node, number).id)
    node._on_timer()


def test_a_name_is_looked_up_again_when_handshakes_fail(
    run: Run, names: Names, tmp_path: Path
) -> None:
    """The peer moved, and its name with it."""
    names.answer = lambda: ["127.0.0.7"]

    async def scenario() -> None:
        async with running(config(tmp_path, 2, peer(1), NETWORK)) as far:
            there = peer(2, f'endpoint = "{NAME.host}:{far.listen_port}"')
            async with running(config(tmp_path, 1, there, NETWORK)) as node:
                endpoint = endpoint_of(node, 2)
                assert endpoint is not None
                assert socket.inet_ntoa(endpoint.ip) == "127.0.0.7"
                asked = len(names.asked)
                node._on_timer()  # No handshake failed: nothing is asked.
                await asyncio.sleep(0.03)
                assert len(names.asked) == asked
                # The name is not known for a while: the old address stays, and one question does.
                names.answer = names.nothing
                fail_handshakes(node, 2)
                await until(lambda: len(names.asked) == asked + 1)
                await until(lambda: not node._lookups)
                assert endpoint_of(node, 2) == endpoint
                names.answer = lambda: ["127.0.0.1"]
                fail_handshakes(node, 2)
                await until(lambda: endpoint_of(node, 2) != endpoint)
                await deliver(port_of(node), port_of(far), b"found")

    run(scenario())


def test_one_peer_asks_one_question_at_a_time(
    run: Run, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "NAME_PATIENCE", 0.02)
    names.answer = names.hang

    async def scenario() -> None:
        there = peer(2, f'endpoint = "{NAME}"')
        async with running(config(tmp_path, 1, there, NETWORK)) as node:
            for _ in range(5):
                fail_handshakes(node, 2)
                await asyncio.sleep(0)
            assert len(names.asked) == 1

    run(scenario())


def test_a_peer_that_was_removed_meanwhile_gets_no_address(
    run: Run, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "NAME_PATIENCE", 0.02)
    names.answer = names.hang

    async def scenario() -> None:
        there = peer(2, f'endpoint = "{NAME}"', KEEPALIVE)
        async with running(config(tmp_path, 1, there, NETWORK)) as node:
            node.engine.remove_peer(public(2))
            node.engine.add_peer(public(2))
            names.answer = lambda: ["127.0.0.1"]
            names.release.set()
            await until(lambda: not node._lookups)
            assert endpoint_of(node, 2) is None

    run(scenario())


def test_silence_never_loses_a_learned_endpoint(run: Run, tmp_path: Path) -> None:
    """What the file says may be tried, but where the peer was last heard is tried again."""

    async def scenario() -> None:
        there = peer(2, 'endpoint = "127.0.0.7:9"')
        async with running(config(tmp_path, 1, there, NETWORK)) as node:
            assert endpoint_of(node, 2) == Endpoint(bytes([127, 0, 0, 7]), 9)
            learned = Endpoint(bytes([127, 0, 0, 8]), 10)
            point(node, 2, "127.0.0.8", 10)
            for _ in range(3):
                tried = []
                for _ in range(2):
                    fail_handshakes(node, 2)
                    await until(lambda: not node._lookups)
                    tried.append(endpoint_of(node, 2))
                assert learned in tried

    run(scenario())


def test_a_family_that_the_host_has_not(
    run: Run, names: Names, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    names.answer = lambda: ["::1", "127.0.0.9"]

    async def scenario() -> None:
        there = peer(2, f'endpoint = "{NAME}"')
        node = make_node(config(tmp_path, 1, there, NETWORK))
        open_them = node._open_sockets

        def ipv4_alone(port: int) -> list[UdpSocket]:
            ipv4, *others = open_them(port)
            for socket_ in others:
                socket_.close()
            return [ipv4]

        node._open_sockets = ipv4_alone  # type: ignore[method-assign]  # a host without IPv6
        await node.start()
        endpoint = endpoint_of(node, 2)
        assert endpoint is not None
        assert len(endpoint.ip) == 4
        await node.close()

    run(scenario())

"""A node's listener for HTTP: what it tells, and whom garbage hurts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.node.sites import NETWORK, config, deliver, peer, point, port_of, running
from tests.support.running import Run
from wgvx.config import EndpointName
from wgvx.control import status, status_page, web
from wgvx.control.http import Response
from wgvx.control.web import Web
from wgvx.node import Node

DOCUMENT = status_page.PAGE.body.decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serving(
    folder: Path, *tables: str, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Node, Web, int]]:
    """A node that is asked by HTTP at a port."""
    async with running(config(folder, 1, *tables)) as node:
        port = free_port()
        made = Web(node, EndpointName(host, port))
        made.ready = True
        try:
            yield node, made, port
        finally:
            made.close()
            await asyncio.sleep(0.01)  # Let the connections see their end.


async def raw(port: int, data: bytes, *, eof: bool = False) -> bytes:
    """All that is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if eof:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def get(port: int, path: str, host: str = "localhost") -> tuple[int, dict[str, str], str]:
    """Status, headers with small names, body."""
    answer = await raw(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def test_what_there_is(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, peer(2), NETWORK) as (_, _, port):
            for path, kind, holds in (
                ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "wgvx_node_info{"),
                ("/livez", "text/plain; charset=utf-8", "alive"),
                ("/readyz", "text/plain; charset=utf-8", "ready"),
                ("/", "text/html; charset=utf-8", "<!doctype html>"),
                ("/status.json", "application/json", '"name": "n1"'),
            ):
                code, headers, body = await get(port, path)
                assert (code, headers["content-type"]) == (200, kind)
                assert headers["content-length"] == str(len(body.encode()))
                assert headers["x-content-type-options"] == "nosniff"
                assert holds in body
            for path in ("/metrics/", "//", "/../etc/passwd", "/status_page.html", "*"):
                assert (await get(port, path))[0] == 404
            assert (await get(port, "/metrics", "evil.example"))[0] == 421
            assert (await raw(port, b"HEAD / HTTP/1.1\r\nHost: [::1]\r\n\r\n")).endswith(
                b"\r\n\r\n"
            )

    run(scenario())


def test_readiness_is_from_the_start_to_the_end(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (node, made, port):
            made.ready = False
            code, _, body = await get(port, "/readyz")
            assert (code, body) == (503, "starting\n")
            assert (await get(port, "/livez"))[0] == 200
            made.ready = True
            assert (await get(port, "/readyz"))[0] == 200
            node.stop()
            code, _, body = await get(port, "/readyz")
            assert (code, body) == (503, "ending\n")

    run(scenario())


def test_the_status_has_what_show_has_and_no_address(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        one = peer(2, 'name = "two"')
        async with (
            serving(tmp_path, one, peer(3), NETWORK) as (node, _, port),
            running(config(tmp_path, 2, peer(1), NETWORK)) as far,
        ):
            point(node, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(node), port_of(far), b"counted")
            shown = status.show(node)
            _, _, body = await get(port, "/status.json")
            told: dict[str, Any] = json.loads(body)
            assert [one["peer"] for one in told["peers"]] == [
                "two",
                shown["peers"][1]["public_key"][:8],
            ]
            for key in ("rx_bytes", "tx_bytes", "latest_handshake"):
                assert told["peers"][0][key] == shown["peers"][0][key] > 0
            (network,) = told["networks"]
            assert network["ports"] == [{"name": "m0", "up": True, "blocked": False}]
            assert (network["moves"], network["quiet"]) == (0, "off")
            assert network["fdb_entries"] == shown["networks"][0]["fdb_entries"]
            assert told["now"] >= told["started"]
            assert [one["path_mtu"] for one in told["peers"]] == [
                one["path_mtu"] for one in shown["peers"]
            ]
            looped = {"loop_detection": {"blocked": [{"port": "m0", "seconds": 1, "way": ""}]}}
            shown["networks"][0]["quiet"] |= looped
            (network,) = status_page.data(shown, now=2, started=1)["networks"]
            assert network["ports"] == [{"name": "m0", "up": True, "blocked": True}]
            assert "127.0.0.1" not in body
            assert "10.254" not in body
            assert shown["public_key"] not in body

    run(scenario())


def test_the_node_is_looked_at_once_a_second(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Node] = []

    def look(node: Node, **options: Any) -> dict[str, Any]:
        looked.append(node)
        return show(node, **options)

    show = status.show
    monkeypatch.setattr(status, "show", look)

    async def scenario() -> None:
        async with serving(tmp_path, NETWORK) as (_, _, port):
            answers = await asyncio.gather(*(get(port, "/metrics") for _ in range(20)))
            assert {code for code, _, _ in answers} == {200}
            assert len(looked) == 1
            monkeypatch.setattr(web, "FRESH_SECONDS", 0.0)
            await asyncio.sleep(1.0)
            await get(port, "/metrics")
            await get(port, "/metrics")
            assert len(looked) == 3

    run(scenario())


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 40 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
        b"\xff" * 100_000,
        b"GET " + b"/" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n"
        + b"z" * 100_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"",
    ],
)
def test_garbage_hurts_who_sends_it(garbage: bytes, run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (_, _, port):
            await asyncio.gather(*(raw(port, garbage, eof=True) for _ in range(5)))
            assert (await get(port, "/livez"))[0] == 200

    run(scenario())


def test_who_is_slow_keeps_nobody_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 5)

    async def scenario() -> None:
        async with serving(tmp_path) as (_, _, port):
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            for _, writer in slow:
                writer.write(b"GET / HTTP/1.1\r\n")
            assert (await get(port, "/livez"))[0] == 200
            for reader, writer in slow:
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()

    run(scenario())


@pytest.mark.parametrize("body", [b"small", bytes(1 << 24)], ids=["answered", "not reading"])
def test_who_was_answered_keeps_nobody_out(
    body: bytes, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(status_page, "PAGE", Response(body))

    async def scenario() -> None:
        async with serving(tmp_path) as (_, _, port):
            idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
            for one in idle:
                one.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.sleep(0.1)  # Less than they are seen off for.
            for _ in range(3):
                assert (await get(port, "/livez"))[0] == 200
            for one in idle:
                one.close()

    run(scenario())


def test_who_does_not_read_is_let_go(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(status_page, "PAGE", Response(bytes(1 << 24)))

    async def scenario() -> None:
        async with serving(tmp_path) as (_, _, port):
            with socket.create_connection(("127.0.0.1", port)) as lazy:
                lazy.setblocking(False)
                lazy.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await asyncio.sleep(2.0)  # A second of it to read what is there already.
                read = 0
                with contextlib.suppress(ConnectionError):
                    while some := await asyncio.wait_for(
                        asyncio.get_running_loop().sock_recv(lazy, 1 << 20), 5
                    ):
                        read += len(some)
                assert read < 1 << 24

    run(scenario())


def test_a_port_that_is_taken(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (node, _, port):
            with pytest.raises(OSError, match="in use"):
                Web(node, EndpointName("127.0.0.1", port))

    run(scenario())


@pytest.mark.parametrize(
    ("host", "is_ours_alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example", False),
    ],
)
def test_who_reaches_it(host: str, is_ours_alone: bool) -> None:
    assert EndpointName(host, 9586).is_loopback == is_ours_alone


# The page


def test_the_page_has_nothing_of_elsewhere() -> None:
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", DOCUMENT)
    assert not re.search(r"<(img|link(?! rel=\"icon\" href=\"data:)|iframe|object|embed)", DOCUMENT)
    assert not re.search(r"\b(src|style|on\w+)=", DOCUMENT), "what the policy would not let run"


def test_what_is_shown_is_text() -> None:
    for never in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert never not in DOCUMENT


def test_the_policy_lets_run_what_is_in_the_page_alone() -> None:
    policy = status_page.PAGE.headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", rules[kind])
    assert "unsafe" not in policy

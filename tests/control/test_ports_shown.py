"""Ports as wgvx show tells them, and as wgvx exec finds that there is none to enter."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from pathlib import Path

import pytest

from tests.control.controlled import asked, controlled
from tests.node.sites import config, peer, until
from tests.support.running import Run
from wgvx.cli import show
from wgvx.cli.main import main
from wgvx.control.entering import no_namespace


async def wgvx(*arguments: str) -> int:
    """The command, in a thread of its own: the node answers it from this one."""
    return await asyncio.to_thread(main, list(arguments))


def test_show_tells_vms_and_whether_they_are_there(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = (
        '[[network]]\nvni = 4200\nattach = [{ type = "tap", name = "m0" }, '
        '{ type = "stream", name = "vm1", listen = "./vm1" }, '
        '{ type = "stream", name = "vm2", connect = "./vm2" }, '
        '{ type = "dgram", name = "vm3", local = "./here", remote = "./there" }]\n'
    )

    async def scenario() -> None:
        async with controlled(folder, peer(2), network) as node:
            with socket.socket(socket.AF_UNIX) as guest:
                guest.connect(str(folder / "vm1"))
                (waiting,) = (one for one in node.devices.values() if one.name == "vm1")
                await until(lambda: waiting.fds != ())
                assert await wgvx("show") == 0
                shown = capsys.readouterr().out
                assert (await asked("show"))["networks"][0]["attach"] == [
                    {"type": "tap", "name": "m0"},
                    {"type": "stream", "name": "vm1", "listen": f"{folder}/vm1", "connected": True},
                    {
                        "type": "stream",
                        "name": "vm2",
                        "connect": f"{folder}/vm2",
                        "connected": False,
                    },
                    {
                        "type": "dgram",
                        "name": "vm3",
                        "local": f"{folder}/here",
                        "remote": f"{folder}/there",
                        "connected": False,
                    },
                ]
            for line in (
                "  tap: m0",
                f"  stream: vm1, waits at {folder}/vm1, connected",
                f"  stream: vm2, calls at {folder}/vm2, not connected",
                f"  dgram: vm3, from {folder}/here to {folder}/there, not connected",
            ):
                assert line in shown.splitlines()

    run(scenario())


def test_a_stack_tells_its_ways_and_nobody_enters_it(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("wgvx._stack") is None:
        pytest.skip("wgvx was built without lwIP: ./dev lwip")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{probe.getsockname()[1]}"
    network = (
        '[[network]]\nvni = 4200\nattach = [{ type = "stack", name = "apps", '
        f'address = ["10.0.0.9/24"], socks5 = "{proxy}", reverse = ["80:127.0.0.1:81"] }}]\n'
    )

    async def scenario() -> None:
        async with controlled(folder, peer(2), network):
            assert await wgvx("show") == 0
            shown = capsys.readouterr().out
            ((stack,),) = (one["attach"] for one in (await asked("show"))["networks"])
            counters = stack.pop("counters")
            assert counters.pop("connections") == 0
            assert "handshakes_full" in counters
            assert not any(counters.values())
            assert [stack] == [
                {
                    "type": "stack",
                    "name": "apps",
                    "address": ["10.0.0.9/24"],
                    "gateway": [],
                    "dns": [],
                    "socks5": proxy,
                    "http": None,
                    "forward": [],
                    "reverse": ["*:80:127.0.0.1:81"],
                }
            ]
            for line in (
                "  stack: apps, 10.0.0.9/24",
                "    names from: this host's resolver",
                f"    SOCKS5: waits at {proxy}",
                "    reverse: waits at port 80 on the overlay, leads to 127.0.0.1:81 here",
            ):
                assert line in shown.splitlines()
            assert await wgvx("exec", "n1", "--", "true") == 2
            assert f"with its proxy: ALL_PROXY=socks5h://{proxy} COMMAND" in capsys.readouterr().err

    run(scenario())


@pytest.mark.parametrize(
    ("port", "down", "text"),
    [
        ({"type": "stream", "name": "x"}, ["x"], "stream: x, not connected"),
        ({"type": "stream", "name": "x"}, [], "stream: x, connected"),
        (
            {"type": "dgram", "name": "x", "local": "[::1]:1", "remote": "[::1]:2"},
            [],
            "dgram: x, from [::1]:1 to [::1]:2, open",
        ),
        ({"type": "stack", "name": "x"}, ["x"], "stack: x, ended"),
        ({"type": "tap", "name": "x"}, [], "tap: x"),
    ],
)
def test_the_state_of_a_port_also_as_an_older_node_tells_it(
    port: dict[str, str], down: list[str], text: str
) -> None:
    (row,) = show._ports({"attach": [port], "down": down})
    assert ": ".join(row) == text


STACK = 'type = "stack", name = "apps", address = ["10.0.0.9/24"]'


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (f'{STACK}, http = "127.0.0.1:8080"', "its proxy for HTTP CONNECT at 127.0.0.1:8080"),
        (f'{STACK}, forward = ["80:10.0.0.2:81"]', "lead there: 127.0.0.1:80:10.0.0.2:81"),
        (f'{STACK}, reverse = ["80:127.0.0.1:81"]', "`wgvx up --socks5 HOST:PORT` would"),
        ('type = "stream", name = "vm1", listen = "/x"', "VMs alone are on its networks"),
        ('type = "tap", name = "t0"', "run the command directly"),
    ],
)
def test_what_there_is_instead_of_a_namespace(tmp_path: Path, entry: str, said: str) -> None:
    configured = config(tmp_path, 1, f"[[network]]\nvni = 1\nattach = [{{ {entry} }}]\n")
    assert said in no_namespace(configured)

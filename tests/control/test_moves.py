"""Stations that move, as `wgvx fdb` tells of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.control.controlled import asked, controlled
from tests.node.sites import VNI, peer, port_of, until
from tests.support.running import Run
from wgvx.cli.fdb_watch import FdbView, by_station, changes, in_words
from wgvx.cli.main import main
from wgvx.control.client import ControlError
from wgvx.node import Node

BRIDGE = (
    f'[[network]]\nvni = {VNI}\nageing = 2\nattach = [{{ type = "tap", name = "m0" }}, '
    '{ type = "tap", name = "m1" }]\n'
)
MAC = "02:00:00:00:00:77"
FRAME = bytes(6 * [255]) + bytes.fromhex(MAC.replace(":", "")) + bytes(50)


async def appear(node: Node, port: str) -> None:
    """The station speaks on this port."""
    before = port_of(node, "m1" if port == "m0" else "m0")
    before.take()
    assert port_of(node, port).inject(FRAME)
    await until(lambda: bool(before.take()))


def test_moves(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), BRIDGE) as node:
            assert await asyncio.to_thread(main, ["fdb", "n1", "moves"]) == 0
            for port in ("m0", "m0", "m1", "m0", "m1"):
                await appear(node, port)
            (row,) = [row for row in await asked("fdb") if row["mac"] == MAC]
            assert (row["port"], row["moves"]) == ("m1", 3)
            expected = {
                "vni": VNI,
                "mac": MAC,
                "from": {"vtep": None, "port": "m0"},
                "to": {"vtep": None, "port": "m1"},
                "ago": 0,
                "times": 3,
                "held": 0,
            }
            assert await asked("fdb_moves", vni=VNI) == [expected]
            with pytest.raises(ControlError):
                await asked("fdb_moves", vni=1)
            assert await asyncio.to_thread(main, ["fdb", "n1", "moves"]) == 0
            assert await asyncio.to_thread(main, ["fdb", "n1"]) == 0
            assert await asyncio.to_thread(main, ["fdb", "n1", "moves", "--json"]) == 0
            assert await asyncio.to_thread(main, ["fdb", "n1", "--json", "moves"]) == 0

    run(scenario())
    said = capsys.readouterr().out
    assert said.startswith("nothing has moved in node n1\n")
    line = f"{VNI}  {MAC}  port m0  port m1        0      3"
    assert said.count(line) == 2
    assert said.count('"times": 3') == 2


def test_what_happens_is_told_as_it_happens(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        def view(*, as_json: bool) -> FdbView:
            async def rows() -> Any:
                return await asked("fdb")

            def ask(command: Any) -> Any:
                return asyncio.run_coroutine_threadsafe(command, loop).result()

            async def ageing() -> dict[int, int]:
                return {one["vni"]: one["ageing"] for one in (await asked("show"))["networks"]}

            return FdbView(lambda: ask(rows()), lambda: ask(ageing()), as_json=as_json)

        async def look() -> list[str]:
            capsys.readouterr()
            for one in (words, objects):
                await asyncio.to_thread(one.look)
                one.in_a_pipe()
            lines = capsys.readouterr().out.splitlines()
            told = [line.split("  ", 1)[1] for line in lines if line[0] != "{"]
            events = [json.loads(line)["event"] for line in lines if line[0] == "{"]
            assert events == [text.split()[0] for text in told]
            return told

        loop = asyncio.get_running_loop()
        async with controlled(folder, peer(2), BRIDGE) as node:
            words, objects = view(as_json=False), view(as_json=True)
            assert await look() == []
            await appear(node, "m0")
            assert await look() == [f"learned {VNI}  {MAC}  port m0"]
            assert await look() == []
            await appear(node, "m1")
            assert await look() == [f"moved   {VNI}  {MAC}  port m0 -> port m1"]
            for port in ("m0", "m1"):
                await appear(node, port)
            assert await look() == [f"moved   {VNI}  {MAC}  port m1 -> port m1  (2 times)"]
            await asked("fdb_delete", mac=MAC)
            await asked("fdb_add", mac="02:00:00:00:00:02", vtep="10.254.0.2")
            assert await look() == [
                f"added   {VNI}  02:00:00:00:00:02  VTEP 10.254.0.2",
                f"deleted {VNI}  {MAC}  port m1",
            ]
            await appear(node, "m0")
            assert await look() == [f"learned {VNI}  {MAC}  port m0"]
            await asyncio.sleep(2)
            assert await look() == [f"aged    {VNI}  {MAC}  port m0"]
        assert await look() == []  # The node has stopped: that is no change of its table.
        assert words._waits
        async with controlled(folder, peer(2), BRIDGE) as node:
            await appear(node, "m0")
            assert f"learned {VNI}  {MAC}  port m0" in await look()

    run(scenario())


def test_a_deletion_is_told_from_age() -> None:
    row = {"vni": 1, "mac": MAC, "vtep": None, "port": "p", "state": "local", "moves": 0}
    for age, seconds, limit, event in (
        (298, 1.0, 300, "aged"),
        (297, 1.0, 300, "deleted"),
        (0, 1.0, None, "deleted"),
        (None, 1000.0, 300, "deleted"),
    ):
        before = by_station([{**row, "age": age}])
        limits = {} if limit is None else {1: limit}
        (change,) = changes(before, {}, seconds, lambda limits=limits: limits)  # type: ignore[misc]
        assert change.event == event
    learned = by_station([{**row, "age": 1}])
    static = by_station(
        [{**row, "state": "static", "vtep": "10.254.0.2", "port": None, "age": None}]
    )
    said = [in_words(change) for change in changes(learned, static, 1.0, dict)]
    assert [text.split()[0] for text in said] == ["added", "deleted"]

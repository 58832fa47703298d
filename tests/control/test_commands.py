"""wgvx fdb and wgvx show, answered by a running node."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.config.files import FDB
from tests.control.controlled import MAC, TWO, ZERO, asked, controlled
from tests.node.sites import (
    NETWORK,
    VNI,
    config,
    make_node,
    peer,
    port_of,
    until,
)
from tests.support.running import Run
from wgvx.cli import show
from wgvx.cli.main import main
from wgvx.control import paths, status
from wgvx.control.client import ControlError
from wgvx.control.paths import NodeLock
from wgvx.control.server import ControlServer
from wgvx.drops import Reason
from wgvx.keys import encode
from wgvx.node import Node
from wgvx.reload.reloader import Reloader

# wgvx fdb


async def wgvx(*arguments: str) -> int:
    """The command, in a thread of its own: the node answers it from this one."""
    return await asyncio.to_thread(main, list(arguments))


def rows_of(node: Node, vni: int = VNI) -> dict[str, list[str]]:
    """State and VTEPs of the rows that are not the node's own."""
    found: dict[str, list[str]] = {}
    for row in status.fdb(node, vni):
        if row["vtep"] is not None:
            found.setdefault(row["mac"], []).append(f"{row['state']} {row['vtep']}")
    return found


def test_fdb_edits(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as node:
            flood = ["static 10.254.0.2"]
            assert await wgvx("fdb", "n1", "add", MAC, "10.254.0.9") == 0
            assert rows_of(node) == {ZERO: flood, MAC: ["static 10.254.0.9"]}
            assert await wgvx("fdb", "n1", "add", MAC, "fd00::9") == 0  # It moves there.
            assert rows_of(node)[MAC] == ["static fd00::9"]
            assert await wgvx("fdb", "n1", "del", MAC, "10.254.0.9") == 1
            assert await wgvx("fdb", "n1", "del", MAC.upper(), "fd00:0::9") == 0
            assert await wgvx("fdb", "n1", "del", MAC) == 1
            assert rows_of(node) == {ZERO: flood}
            # The flood list takes several, each once.
            for _ in range(2):
                assert await wgvx("fdb", "n1", "add", ZERO, "10.254.0.3") == 0
            assert rows_of(node) == {ZERO: [*flood, "static 10.254.0.3"]}
            assert await wgvx("fdb", "n1", "del", ZERO, "10.254.0.3") == 0
            # Nothing but a static entry is there to flush.
            assert await wgvx("fdb", "n1", "add", MAC, "10.254.0.9") == 0
            assert await wgvx("fdb", "n1", "flush") == 0
            assert await wgvx("fdb", "n1", "flush", "--static", "--vtep", "10.254.0.8") == 0
            assert MAC in rows_of(node)
            assert await wgvx("fdb", "n1", "flush", "--static", "--vtep", "10.254.0.9") == 0
            assert rows_of(node) == {ZERO: flood}

    run(scenario())
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "replaced 10.254.0.9",
        *("0 entries deleted", "0 entries deleted", "1 entry deleted"),
    ]
    complaints = [said for said in captured.err.splitlines() if "wgvx: warning: " not in said]
    assert complaints == [
        f"wgvx: there is no entry {MAC} at 10.254.0.9",
        f"wgvx: there is no entry {MAC}",
    ]


@pytest.mark.parametrize(
    ("mac", "vtep", "warned"),
    [
        (MAC, "10.254.0.2", None),
        (ZERO, "fd00::2", None),
        (MAC, "10.254.0.9", "no peer's allowed_ips covers 10.254.0.9: nothing can be sent there"),
        (ZERO, "10.254.0.9", "no peer's allowed_ips covers 10.254.0.9"),
        (MAC, "10.254.0.1", "10.254.0.1 is this node's own address"),
        ("ff:ff:ff:ff:ff:ff", "10.254.0.2", "no longer to the flood list"),
        ("33:33:00:00:00:01", "10.254.0.2", None),
    ],
)
def test_fdb_add_warns_of_what_is_hardly_meant(
    mac: str,
    vtep: str,
    warned: str | None,
    run: Run,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as node:
            for _ in range(2):  # The same again replaces nothing.
                assert await wgvx("fdb", "n1", "add", mac, vtep) == 0
            assert f"static {vtep}" in rows_of(node)[mac]

    run(scenario())
    captured = capsys.readouterr()
    assert captured.out == ""
    said = captured.err.splitlines()
    if warned is None:
        assert said == []
    else:
        assert len(said) == 2
        assert all(one.startswith("wgvx: warning: ") and warned in one for one in said)


@pytest.mark.parametrize(
    ("arguments", "exit_status", "said"),
    [
        (["add", "nonsense", "10.254.0.2"], 2, "'nonsense' is not a MAC address"),
        (["add", "02-00-00-00-00-02", "10.254.0.2"], 2, "want six bytes as 02:"),
        (["add", MAC, "nonsense"], 2, "'nonsense' is not a VTEP"),
        (["add", MAC, "10.254.0.2/32"], 2, "is not a VTEP"),
        (["add", MAC, "224.0.0.1"], 2, "is not a VTEP"),
        (["add", MAC, "0.0.0.0"], 2, "is not a VTEP"),
        (["add", MAC, "fe80::1%1"], 2, "is not a VTEP"),
        (["add", MAC, ""], 2, "is not a VTEP"),
        (["del", MAC, ""], 2, "is not a VTEP"),
        (["flush", "--vtep", ""], 2, "is not a VTEP"),
        (["del", MAC], 1, "there is no entry"),
        (["del", ZERO, "10.254.0.9"], 1, "there is no flood list entry at 10.254.0.9"),
        (["add", MAC, "10.254.0.2", "--vni", "7"], 2, "no network with VNI 7 (it has 4200)"),
        (["--vni", "7"], 2, "no network with VNI 7"),
        (["flush", "--vni", "-1"], 2, "no network with VNI -1"),
    ],
)
def test_fdb_refusals(
    arguments: list[str],
    exit_status: int,
    said: str,
    run: Run,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as node:
            before = rows_of(node)
            assert await wgvx("fdb", "n1", *arguments) == exit_status
            assert rows_of(node) == before

    run(scenario())
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("wgvx: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_fdb_of_a_family_that_the_node_has_not(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        configured = config(folder, 1, NETWORK)
        ipv4 = replace(configured.node, addresses=configured.node.addresses[:1])
        node = make_node(replace(configured, node=ipv4))
        lock = NodeLock("n1")
        control = ControlServer(node, lock, Reloader(node))
        answer = control._answer(
            json.dumps({"command": "fdb_add", "mac": MAC, "vtep": "fd00::2"}).encode()
        )
        assert answer["status"] == 2
        assert "no tunnel address of its family" in answer["error"]
        await node.close()
        lock.release()

    run(scenario())


def test_fdb_of_a_ports_own_mac(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with controlled(folder, NETWORK) as node:
            own = port_of(node).mac.hex(":")
            with pytest.raises(ControlError, match=f"{own} is the address of a port") as caught:
                await asked("fdb_add", mac=own, vtep="10.254.0.2")
            assert caught.value.exit_status == 2
            assert await wgvx("fdb", "n1", "del", own) == 1
            assert await wgvx("fdb", "n1", "flush", "--static") == 0
            assert [row["mac"] for row in await asked("fdb")] == [own]

    run(scenario())


def test_fdb_of_several_networks(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), TWO) as node:
            assert await wgvx("fdb", "n1", "add", MAC, "10.254.0.2") == 2
            assert "--vni N (this node has 4200, 4201)" in capsys.readouterr().err
            assert await wgvx("fdb", "n1", "add", MAC, "10.254.0.2", "--vni", "4201") == 0
            assert await wgvx("fdb", "n1", "--vni", "4200", "add", MAC, "10.254.0.3") == 0
            assert rows_of(node)[MAC] == ["static 10.254.0.3"]
            assert rows_of(node, 4201)[MAC] == ["static 10.254.0.2"]
            assert await wgvx("fdb", "n1", "--vni", "4201", "--json") == 0
            shown = json.loads(capsys.readouterr().out)
            assert {row["vni"] for row in shown} == {4201}
            assert await wgvx("fdb", "n1", "--json") == 0
            assert {row["vni"] for row in json.loads(capsys.readouterr().out)} == {4200, 4201}
            assert await wgvx("fdb", "n1", "flush", "--static", "--vni", "4200") == 0
            assert MAC not in rows_of(node)
            assert MAC in rows_of(node, 4201)
            assert await wgvx("fdb", "n1", "flush", "--static") == 0
            assert MAC not in rows_of(node, 4201)

    run(scenario())


def test_fdb_without_networks(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with controlled(folder):
            assert await wgvx("fdb", "n1", "--json") == 0
            assert json.loads(capsys.readouterr().out) == []
            assert await wgvx("fdb", "n1", "flush") == 0
            assert await wgvx("fdb", "n1", "add", MAC, "10.254.0.2") == 2
            assert "this node has none" in capsys.readouterr().err

    run(scenario())


def test_static_entries_of_the_file_are_there(run: Run, folder: Path) -> None:
    entry = FDB % (f'"{MAC}"', '"10.254.0.2"')

    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK + entry) as node:
            assert rows_of(node)[MAC] == ["static 10.254.0.2"]

    run(scenario())


# wgvx show


def test_show_for_people(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as node:
            port_of(node).inject(b"short")
            await until(lambda: node.dataplane.drops()[Reason.SHORT_FRAME] == 1)
            assert await wgvx("show") == 0
            shown = capsys.readouterr().out
            lines = shown.splitlines()
            assert lines[0] == "node: n1"
            (key,) = (encode(info.public_key) for info in node.engine.peers.values())
            at = lines.index(f"peer: {key}")
            assert lines[at - 1] == ""
            for part in (
                "  allowed IPs: 10.254.0.2/32, fd00::2/128",
                "  latest handshake: never",
                "  short_frame: 1",
                "  MTU: 1350",
            ):
                assert part in lines
            assert "malformed" not in shown
            assert await wgvx("show", "--json") == 0
            (only,) = json.loads(capsys.readouterr().out)
            assert only["name"] == "n1"
            # A path whose stem counts, whether or not there is such a file.
            assert await wgvx("show", "/nowhere/n1.toml", "--json") == 0
            assert json.loads(capsys.readouterr().out)["drops"]["short_frame"] == 1
            assert await wgvx("show", "n2") == 1
            assert "no node n2 is running; running: n1" in capsys.readouterr().err

    run(scenario())
    assert main(["show"]) == 0
    assert capsys.readouterr().out.startswith("no node is running")
    assert main(["show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    for command in ("show", "fdb", "down", "exec"):
        trailer = ["--", "true"] if command == "exec" else []
        assert main([command, "n1", *trailer]) == (125 if command == "exec" else 1)
        assert "no node n1 is running" in capsys.readouterr().err


def test_show_of_several_nodes_and_long_lists(capsys: pytest.CaptureFixture[str]) -> None:
    """One block per node and peer, one line per field, however long."""
    key = encode(bytes(range(32)))
    peers = [
        {
            "public_key": key,
            "name": name,
            "endpoint": endpoint,
            "allowed_ips": [f"2001:db8:1234:5678::{n}/128" for n in range(count)],
            "latest_handshake": 0,
            "rx_bytes": 2048,
            "tx_bytes": 0,
        }
        for name, endpoint, count in (("b", "[2001:db8::1]:51820", 9), (None, None, 0))
    ]
    node = {
        "name": "n1",
        "public_key": key,
        "listen_port": 51820,
        "dataplane": "reference",
        "aead": "cryptography",
        "offloads": {"tso": False},
        "peers": peers,
        "networks": [],
        "drops": {"malformed": 0},
    }
    show._print([node, {**node, "name": "n2", "peers": []}], None, False)
    prefixes = ", ".join(f"2001:db8:1234:5678::{n}/128" for n in range(4))
    head = [
        f"  public key: {key}",
        "  listening port: 51820",
        "  data plane: reference (cryptography), offloads: none",
        "  confined by: nothing",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "node: n1",
        *head,
        "",
        f"peer: {key}",
        "  name: b",
        "  endpoint: [2001:db8::1]:51820",
        f"  allowed IPs: {prefixes}, and 5 more",
        "  latest handshake: never",
        "  transfer: 2.0 KiB received, 0 B sent",
        "",
        f"peer: {key}",
        "  endpoint: none",
        "  allowed IPs: none",
        "  latest handshake: never",
        "  transfer: 2.0 KiB received, 0 B sent",
        "",
        "node: n2",
        *head,
    ]


@pytest.mark.usefixtures("folder")
def test_a_node_that_ended_meanwhile_is_not_spoken_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = NodeLock("n0")
    lock = ended.folder / "n0.lock"
    ended.release()
    monkeypatch.setattr(show, "running", lambda: iter([("n0", lock)]))
    assert main(["show"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("no node is running")
    assert captured.err == ""


def test_what_of_root_cannot_be_seen_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    system = folder / "system"
    monkeypatch.setattr(paths, "SYSTEM_FOLDER", system)
    assert paths.unseen() == ""
    system.mkdir()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result((0o40700, *[0] * 9)))
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert paths.unseen() == ""
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = f"(of yours; {system} belongs to root: try sudo)"
    assert main(["down", "n1"]) == 1
    assert capsys.readouterr().err == f"wgvx: no node n1 is running {said}\n"
    assert main(["show"]) == 0
    assert capsys.readouterr().out == f"no node is running {said}\n"


def test_a_node_that_is_starting_does_not_hide_the_others(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starting = NodeLock("n0")

    async def scenario() -> None:
        async with controlled(folder, NETWORK):
            assert await wgvx("show", "--json") == 0

    run(scenario())
    captured = capsys.readouterr()
    assert [node["name"] for node in json.loads(captured.out)] == ["n1"]
    assert "node n0 does not answer" in captured.err
    starting.release()

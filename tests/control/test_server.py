"""The control socket: what it answers, and whom garbage hurts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.control.controlled import MAC, TWO, ZERO, asked, controlled
from tests.node.sites import (
    NETWORK,
    VNI,
    config,
    deliver,
    peer,
    point,
    port_of,
    running,
)
from tests.support.running import Run
from wgvx.control import server as server_module
from wgvx.control.client import ControlError
from wgvx.control.paths import NodeLock
from wgvx.control.server import ControlServer
from wgvx.drops import Reason
from wgvx.reload.reloader import Reloader

CONTRACT_DROPS = {
    *("malformed", "bad_mac1", "bad_mac2", "handshake_rate", "handshake_replay"),
    *("handshake_failed", "unknown_index", "auth_failed", "replayed", "key_expired"),
    *("inner_malformed", "source_not_allowed", "no_route", "no_endpoint", "staged_overflow"),
    *("bad_checksum", "fragment", "not_vxlan", "reserved_bits", "unknown_vni"),
    *("vtep_not_accepted", "short_frame", "own_mac", "bad_source_mac", "reserved_group"),
    *("static_moved", "no_remote", "too_big", "ecn_ce", "ttl", "port_full", "socket_full"),
}


async def raw(folder: Path, data: bytes, *, eof: bool = False) -> list[Any]:
    """What comes back until the connection ends, or for each line sent."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "n1.sock"))
    answers = []
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        if eof:
            writer.write_eof()
        for _ in range(max(1, data.count(b"\n"))):
            line = await asyncio.wait_for(reader.readline(), 5)
            if not line:
                break
            answers.append(json.loads(line))
    writer.close()
    return answers


# show


def test_show_is_as_specified(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), TWO) as node:
            shown = await asked("show")
            assert set(shown) >= {
                *("name", "public_key", "listen_port", "dataplane", "aead", "offloads"),
                *("peers", "networks", "drops"),
            }
            assert shown["name"] == "n1"
            assert shown["listen_port"] == node.listen_port
            assert shown["offloads"] == dict.fromkeys(("tso", "uso", "gso", "gro"), False)
            (there,) = shown["peers"]
            assert set(there) >= {
                *("public_key", "name", "endpoint", "allowed_ips", "latest_handshake"),
                *("rx_bytes", "tx_bytes", "path_mtu"),
            }
            assert there["path_mtu"] is None
            assert (there["name"], there["endpoint"]) == (None, None)
            assert (there["latest_handshake"], there["rx_bytes"], there["tx_bytes"]) == (0, 0, 0)
            assert there["allowed_ips"] == ["10.254.0.2/32", "fd00::2/128"]
            assert [network["vni"] for network in shown["networks"]] == [4200, 4201]
            for network, name in zip(shown["networks"], ("m0", "m1"), strict=True):
                assert set(network) == {
                    *(
                        "vni",
                        "attach",
                        "down",
                        "ageing",
                        "mtu",
                        "ageing",
                        "fdb_entries",
                        "rx_frames",
                        "tx_frames",
                        "moves",
                        "quiet",
                    ),
                }
                assert not any(network["quiet"].values())
                assert network["attach"] == [{"type": "tap", "name": name}]
                # The TAP's own row; the flood list does not count.
                assert (network["mtu"], network["fdb_entries"]) == (1350, 1)
            assert set(shown["drops"]) >= CONTRACT_DROPS
            assert set(shown["drops"]) == {reason.value for reason in Reason}
            assert set(shown["drops"].values()) == {0}

    run(scenario())


def test_show_counts(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with (
            running(config(folder, 2, peer(1), NETWORK)) as far,
            controlled(folder, peer(2, 'name = "far"'), NETWORK) as near,
        ):
            point(near, 2, "::1", far.listen_port)
            for number in range(3):
                await deliver(port_of(near), port_of(far), bytes([number]))
            await deliver(port_of(far), port_of(near), b"back")
            shown = await asked("show")
            (there,) = shown["peers"]
            assert (there["name"], there["endpoint"]) == ("far", f"[::1]:{far.listen_port}")
            assert there["latest_handshake"] > 1_700_000_000
            assert there["tx_bytes"] > 148 + 3 * 100
            assert there["rx_bytes"] > 92
            (network,) = shown["networks"]
            assert (network["tx_frames"], network["rx_frames"]) == (3, 1)
            assert network["fdb_entries"] == 2
            rows = await asked("fdb")
            assert {(row["mac"], row["vtep"], row["port"], row["state"]) for row in rows} == {
                (ZERO, "10.254.0.2", None, "static"),
                (port_of(near).mac.hex(":"), None, "m0", "local"),
                (port_of(far).mac.hex(":"), "10.254.0.2", None, "dynamic"),
            }
            assert [row["age"] for row in rows if row["state"] != "dynamic"] == [None, None]
            assert [row["age"] for row in rows if row["state"] == "dynamic"] in ([0], [1])
            keys = {"vni", "mac", "vtep", "port", "state", "age", "moves"}
            assert all(set(row) == keys for row in rows)

    run(scenario())


# Garbage.


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"5",
        b"null",
        b'"show"',
        b"[]",
        b"{}",
        b'{"command": 5}',
        b'{"command": null}',
        b'{"command": ["show"]}',
        b'{"command": "no such"}',
        b'{"command": "start"}',
        b'{"command": "fdb_add"}',
        b'{"command": "fdb_add", "mac": 5, "vtep": 6}',
        b'{"command": "fdb_add", "mac": "02:00:00:00:00:02", "vtep": 6}',
        b'{"command": "fdb_delete", "mac": null}',
        b'{"command": "fdb", "vni": {}}',
        b'{"command": "fdb", "vni": [1]}',
        b'{"command": "fdb", "vni": "4200"}',
        b'{"command": "fdb", "vni": 1e999}',
        b'{"command": "fdb_flush", "vtep": {}}',
        b'{"command": "namespace", "netns": []}',
        b"[" * 60000,
        b'{"command": ' + b"9" * 10000 + b"}",
        b'{"command": "' + b"x" * 60000 + b'"}',
    ],
    ids=lambda line: line[:40].decode(errors="replace"),
)
def test_a_bad_request_is_answered_and_the_next_one_served(
    line: bytes, run: Run, folder: Path
) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK):
            bad, good = await raw(folder, line + b'\n{"command": "fdb"}\n')
            assert set(bad) == {"error", "status"}
            assert bad["status"] in (1, 2)
            assert len(good["result"]) == 2

    run(scenario())


def test_a_line_without_end_is_cut_off(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with controlled(folder, NETWORK):
            assert await raw(folder, b"x" * (4 * server_module.LONGEST_REQUEST)) == []
            assert await asked("fdb")

    run(scenario())


def test_a_caller_that_goes_away(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with controlled(folder, NETWORK):
            assert await raw(folder, b"", eof=True) == []
            for data in (b"", b"half a l", b'{"command": "show"}\n' * 50):
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.connect(str(folder / "n1.sock"))
                    caller.sendall(data)
                await asyncio.sleep(0.01)
            assert await asked("fdb")

    run(scenario())


def test_a_caller_that_does_not_read_keeps_nobody_waiting(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with (
            running(config(folder, 2, peer(1), NETWORK)) as far,
            controlled(folder, peer(2), NETWORK) as near,
        ):
            with socket.socket(socket.AF_UNIX) as slow:
                slow.connect(str(folder / "n1.sock"))
                slow.setblocking(False)
                sent = 0
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sent += slow.send(b'{"command": "show"}\n' * 100)
                        await asyncio.sleep(0.001)
                assert sent
                point(near, 2, "127.0.0.1", far.listen_port)
                await deliver(port_of(near), port_of(far), b"x")
                assert await asked("fdb")
                # What waits for the slow one is bounded, and its end is no trouble either.

    run(scenario())


def test_a_caller_that_does_not_read_does_not_outlive_the_node(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as slow:
            async with controlled(folder, NETWORK):
                slow.connect(str(folder / "n1.sock"))
                slow.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        slow.send(b'{"command": "show"}\n' * 100)
                        await asyncio.sleep(0.001)
            slow.setblocking(True)
            slow.settimeout(5)
            with contextlib.suppress(ConnectionError):
                while slow.recv(1 << 20):
                    pass  # It ends.

    run(scenario())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
VALUES = JSON | st.sampled_from([MAC, ZERO, "10.254.0.2", "fd00::2", "0.0.0.0", "", VNI, 4201])


def test_no_request_raises(run: Run, folder: Path) -> None:
    commands = ("show", "fdb", "fdb_moves", "fdb_add", "fdb_delete", "fdb_flush", "namespace")

    async def scenario() -> None:
        async with controlled(folder, peer(2), TWO) as node:
            lock = NodeLock("other")
            control = ControlServer(node, lock, Reloader(node))

            @settings(max_examples=150)
            @given(
                st.fixed_dictionaries(
                    {"command": st.sampled_from(commands)},
                    optional=dict.fromkeys(("vni", "mac", "vtep", "static", "netns"), VALUES),
                )
                | JSON
            )
            def attempt(request: Any) -> None:
                answer = control._answer(json.dumps(request).encode() + b"\n")
                assert set(answer) in ({"result"}, {"error", "status"})
                if isinstance(answer.get("result"), Iterator):
                    answer = {"result": list(answer["result"])}
                json.dumps(answer)

            @given(st.binary(max_size=200))
            def noise(line: bytes) -> None:
                assert set(control._answer(line)) == {"error", "status"}

            try:
                attempt()
                noise()
            finally:
                lock.release()

    run(scenario())


# Who may ask.


def test_the_socket_is_the_owners_and_gone_with_the_node(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        path = folder / "n1.sock"
        path.write_text("left over")
        async with controlled(folder, NETWORK):
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()
        assert list(folder.glob("*.lock")) == []

    run(scenario())


def test_down_is_answered_before_the_end(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        for _ in range(10):
            async with controlled(folder, NETWORK) as node:
                asking = asyncio.ensure_future(asked("down"))
                assert await asyncio.wait_for(node.ended(), 5) == 0
            assert await asking is None

    run(scenario())


def test_a_node_with_memory_ports_has_no_namespace(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with controlled(folder, NETWORK):
            with pytest.raises(ControlError, match="--rootless or a command") as caught:
                await asked("namespace", netns=None)
            assert caught.value.exit_status == 2

    run(scenario())

"""`wgvx capture`: what passed is what tshark reads, and it opens the tunnel with the keys."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.control.controlled import TWO, controlled
from tests.node.sites import NETWORK, config, deliver, peer, point, port_of, running, until
from tests.support.running import Run
from wgvx.cli.main import main
from wgvx.control import capture, pcapng
from wgvx.control.client import ControlError, ask, find, stream
from wgvx.dataplane.captured import NO_CAPTURE, Capture
from wgvx.node import Node

PSK = f'preshared_key = "{"A" * 42}E="'


def tshark(path: Path, *fields: str, only: str = "") -> list[list[str]]:
    """The fields of each packet."""
    if shutil.which("tshark") is None:
        pytest.skip("no tshark: apt-get install tshark")
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        command + (["-Y", only] if only else []),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line.split("|") for line in done.stdout.splitlines()]


class Reader:
    """What a node writes, into a file, in a thread."""

    def __init__(self, path: Path, **wish: Any) -> None:
        self.path = path
        self._wish = wish
        self._counter = pcapng.Counter()
        self._coming: Any = None

    async def __aenter__(self) -> pcapng.Counter:
        self._task = asyncio.create_task(asyncio.to_thread(self._copy))
        await until(lambda: self._coming is not None)
        return self._counter

    async def __aexit__(self, *_: object) -> None:
        self._coming.enough()
        await asyncio.wait_for(self._task, 10)

    def _copy(self) -> None:
        with (
            self.path.open("wb") as file,
            stream(find("n1"), "capture", **self._wish) as self._coming,
        ):
            while data := self._coming.read():
                file.write(data)
                self._counter.feed(data)


def test_frames_of_each_network(run: Run, folder: Path) -> None:
    path = folder / "inner.pcapng"

    async def scenario() -> None:
        far_file = config(folder, 2, peer(1), TWO)
        async with controlled(folder, peer(2), TWO) as near, running(far_file) as far:
            point(near, 2, "127.0.0.1", far.listen_port)
            async with Reader(path) as all_of_it, Reader(folder / "one", vni=4201) as one:
                await deliver(port_of(near, "m1"), port_of(far, "m1"), b"out")
                await deliver(port_of(far, "m1"), port_of(near, "m1"), b"back")
                await deliver(port_of(near), port_of(far), b"first")
                await until(lambda: (all_of_it.packets, one.packets) == (3, 2))
            assert near.dataplane.take_captured() == ([], 0)

    run(scenario())
    names = ("frame.interface_name", "frame.interface_description", "frame.packet_flags_direction")
    rows = tshark(path, *names, "data.data", "frame.time_epoch")
    assert [row[:3] for row in rows] == [
        ["m1", "tap of VNI 4201, node n1", "0x00000001"],
        ["m1", "tap of VNI 4201, node n1", "0x00000002"],
        ["m0", "tap of VNI 4200, node n1", "0x00000001"],
    ]
    for row, payload in zip(rows, (b"out", b"back", b"first"), strict=True):
        assert payload.hex() in row[3]
        assert abs(float(row[4]) - path.stat().st_mtime) < 30


def test_the_tunnel_opens_with_its_keys(run: Run, folder: Path) -> None:
    path = folder / "outer.pcapng"

    async def scenario() -> None:
        far_file = config(folder, 2, peer(1, PSK), NETWORK)
        async with controlled(folder, peer(2, PSK), NETWORK) as near, running(far_file) as far:
            point(near, 2, "127.0.0.1", far.listen_port)
            async with Reader(path, outer=True, keys=True) as counter:
                await deliver(port_of(near), port_of(far), b"there")
                await deliver(port_of(far), port_of(near), b"and back")
                await until(lambda: counter.packets >= 4)
            assert near.engine.device.key_log is None
            ports.extend((near.listen_port, far.listen_port))

    ports: list[int] = []
    run(scenario())
    here, there = ports
    rows = tshark(path, "udp.srcport", "udp.dstport", "wg.type", "udp.checksum.status")
    ways = [(row[0].split(",")[0], row[1].split(",")[0]) for row in rows[:4]]
    assert ways == [(str(one), str(other)) for one, other in ((here, there), (there, here)) * 2]
    assert [row[2] for row in rows[:4]] == ["1", "2", "4", "4"]
    opened = tshark(path, "vxlan.vni", "data.data", only="vxlan")
    assert [row[0] for row in opened] == ["4200", "4200"]
    for row, payload in zip(opened, (b"there", b"and back"), strict=True):
        assert payload.hex() in row[1]
    (handshake,) = tshark(path, "ip.dsfield.dscp", "ip.checksum.status", only="wg.type==1")
    assert handshake[0] == "34"  # AF41, as WireGuard marks handshakes
    assert not tshark(path, "frame.number", only="_ws.expert.severity >= 0x00600000")


def test_who_is_in_session_is_greeted_so_that_there_are_keys(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "REKEY_TIMEOUT", 0)

    async def scenario() -> None:
        far_file = config(folder, 2, peer(1), NETWORK)
        async with controlled(folder, peer(2), peer(3), NETWORK) as near, running(far_file) as far:
            point(near, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(near), port_of(far), b"a session")
            begun: list[int] = []
            monkeypatch.setattr(
                near.engine.device, "initiate", lambda peer, _now: begun.append(peer)
            )
            async with Reader(folder / "keys", outer=True, keys=True):
                await until(lambda: bool(begun))
                await asyncio.sleep(3 * capture.INTERVAL)
            assert begun == [1]

    run(scenario())


def test_it_ends_by_itself_and_is_cut(run: Run, folder: Path) -> None:
    path = folder / "cut.pcapng"

    async def scenario() -> None:
        far_file = config(folder, 2, peer(1), NETWORK)
        async with controlled(folder, peer(2), NETWORK) as near, running(far_file) as far:
            point(near, 2, "127.0.0.1", far.listen_port)
            async with Reader(path, count=2, snaplen=20, outer=True) as counter:
                await deliver(port_of(near), port_of(far), b"1")
                await deliver(port_of(near), port_of(far), b"2")
                await until(lambda: counter.packets == 2)
                await until(lambda: not near.dataplane.take_captured()[0])

    run(scenario())
    rows = tshark(path, "frame.len", "frame.cap_len", "udp.length")
    assert [row[:2] for row in rows] == [["176", "48"], ["120", "48"]]
    assert [row[2] for row in rows] == ["156", "100"]


def test_a_reader_that_does_not_read_loses_packets_and_not_the_node(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "MAXIMUM_WAITING", 1000)
    path = folder / "slow.pcapng"

    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as near:
            async with Reader(path) as counter:
                frame = b"\xff" * 6 + b"\2" * 6 + bytes(900)
                for _ in range(50):
                    assert port_of(near).inject(frame)
                await until(lambda: counter.packets > 0)
                await asyncio.sleep(3 * capture.INTERVAL)
            assert counter.lost > 0
            assert counter.packets + counter.lost == 50

    run(scenario())


def test_a_node_that_ends_says_what_was_lost(run: Run, folder: Path) -> None:
    path = folder / "ended.pcapng"

    async def scenario() -> None:
        reader = Reader(path)
        async with controlled(folder, peer(2), NETWORK) as near:
            counter = await reader.__aenter__()
            assert port_of(near).inject(b"\xff" * 6 + b"\2" * 6 + bytes(50))
            await until(lambda: counter.packets == 1)
        await reader.__aexit__()

    run(scenario())
    assert path.read_bytes()[-100:].find(struct.pack("<I", 5)) > 0  # interface statistics


def test_who_goes_away_is_forgotten(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as near:
            seen: list[Capture] = []
            before = near.dataplane.set_capture

            def noted(kinds: Capture, snaplen: int) -> None:
                seen.append(kinds)
                before(kinds, snaplen)

            monkeypatch.setattr(near.dataplane, "set_capture", noted)
            reader, writer = await asyncio.open_unix_connection(find("n1").with_suffix(".sock"))
            writer.write(b'{"command": "capture"}\n')
            assert json.loads(await reader.readline()) == {"result": None}
            writer.transport.abort()
            await until(lambda: seen == [Capture.FRAMES, NO_CAPTURE])

    run(scenario())


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"vni": 7}, "no network with VNI 7"),
        ({"count": 0}, "1 or more"),
        ({"snaplen": "long"}, "bad request"),
    ],
)
def test_a_wish_that_cannot_be_met(run: Run, folder: Path, wish: dict[str, Any], said: str) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK):
            with pytest.raises(ControlError, match=said):
                await asyncio.to_thread(lambda: ask(find("n1"), "capture", **wish))

    run(scenario())


def test_the_command(run: Run, folder: Path) -> None:
    path = folder / "file.pcapng"

    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as near:
            process = await _command(folder, "--write", str(path), "--count", "1")
            await until(path.exists)
            await _frames_until(near, process)
            _, said = await process.communicate()
            assert (process.returncode, said) == (0, b"wgvx: 1 packet written\n")

    run(scenario())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes()[:4] == struct.pack("<I", 0x0A0D0D0A)
    assert len(tshark(path, "frame.number")) == 1


def test_the_command_ends_with_its_reader(run: Run, folder: Path) -> None:
    async def scenario() -> None:
        async with controlled(folder, peer(2), NETWORK) as near:
            read, write = os.pipe()
            process = await _command(folder, stdout=write)
            os.close(write)
            assert await asyncio.to_thread(os.read, read, 4)
            os.close(read)
            await _frames_until(near, process)
            _, said = await process.communicate()
            assert process.returncode == 0
            assert said.endswith((b"packet written\n", b"packets written\n"))

    run(scenario())


async def _command(
    folder: Path, *options: str, stdout: int | None = None
) -> asyncio.subprocess.Process:
    """In a process of its own, which looks for nodes where this one has them."""
    code = (
        "import sys; from pathlib import Path; from wgvx.control import paths; "
        f"paths.folders = lambda: [Path({str(folder)!r})]; "
        "from wgvx.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "capture", "n1", *options),
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


async def _frames_until(node: Node, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        port_of(node).inject(b"\xff" * 6 + b"\2" * 6 + bytes(50))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keys"], "--keys is for --outer"),
        (["--outer", "--vni", "1"], "--vni is for --inner"),
        (["--count", "0"], "--count: found 0"),
        (["--inner", "--outer"], "not allowed with"),
    ],
)
def test_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "n1", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_counter_takes_a_file_however_it_is_cut() -> None:
    file = pcapng.section("test") + pcapng.interface(1, "a", "b", 100)
    file += pcapng.packet(0, 1 << 60, b"abc", 3, pcapng.INBOUND) * 3
    file += pcapng.statistics(0, 1 << 60, received=5, lost=2)
    for step in (1, 7, 1000):
        counter = pcapng.Counter()
        for at in range(0, len(file), step):
            counter.feed(file[at : at + step])
        assert (counter.packets, counter.lost) == (3, 2)

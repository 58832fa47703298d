"""Names are looked up by a process of their own, several at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.running import Run
from wgvx.config import EndpointName
from wgvx.privilege.names import Names


def test_found_and_not_found(run: Run) -> None:
    async def scenario() -> None:
        with contextlib.closing(Names()) as names:
            asked = [EndpointName(host, 5) for host in ("127.0.0.9", "::1", "no.invalid", "a" * 99)]
            found = await asyncio.gather(*map(names.look_up, asked), return_exceptions=True)
            assert found[0] == [(socket.AF_INET, ("127.0.0.9", 5))]
            assert found[1] == [(socket.AF_INET6, ("::1", 5, 0, 0))]
            assert isinstance(found[2], OSError)
            assert isinstance(found[3], OSError)
            assert names._waiting == {}

    run(scenario())


def test_it_has_no_privilege(run: Run) -> None:
    async def scenario() -> None:
        with contextlib.closing(Names()) as names:
            await names.look_up(EndpointName("127.0.0.1", 5))
            text = Path(f"/proc/{names.process.pid}/status").read_text()
            lines = dict(line.split(":\t", 1) for line in text.splitlines())
            assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
            assert lines["NoNewPrivs"] == "1"

    run(scenario())


def test_its_end_is_an_answer(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with contextlib.closing(Names()) as names:
            os.kill(names.process.pid, signal.SIGSTOP)
            waiting = asyncio.ensure_future(names.look_up(EndpointName("127.0.0.1", 5)))
            await asyncio.sleep(0)
            names.process.kill()
            with pytest.raises(OSError, match="nobody looks up names"):
                await waiting
            for _ in range(3):
                with pytest.raises(OSError, match="nobody looks up names"):
                    await names.look_up(EndpointName("127.0.0.1", 5))
                await asyncio.sleep(0.01)

    run(scenario())
    assert caplog.text.count("looks up names is gone") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense",
        b"\xff",
        b"[]",
        b"1",
        b"{}",
        b"[" * 60000,
        b'{"id": [], "error": ""}',
        b'{"id": 1, "found": 5}',
        b'{"id": 1, "found": [1]}',
        b'{"id": 1, "found": [[99, []]]}',
    ],
)
def test_an_answer_that_is_none_is_its_end(run: Run, answer: bytes) -> None:
    async def scenario() -> None:
        with contextlib.closing(Names()) as names:
            really, (ours, theirs) = (
                names._sock,
                socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET),
            )
            ours.setblocking(False)
            with really, theirs:
                names._sock = ours
                waiting = asyncio.ensure_future(names.look_up(EndpointName("127.0.0.1", 5)))
                await asyncio.sleep(0)
                theirs.send(answer)
                with pytest.raises(OSError, match="nobody looks up names"):
                    await waiting

    run(scenario())


def test_the_end_waits_for_no_answer(run: Run) -> None:
    async def scenario() -> None:
        names = Names()
        waiting = asyncio.ensure_future(names.look_up(EndpointName("127.0.0.1", 5)))
        await asyncio.sleep(0)
        names.close()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert names.process.returncode == 0

    run(scenario())

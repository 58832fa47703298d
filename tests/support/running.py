"""Fixtures for tests that run nodes: every event loop there is, and nothing left open."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs coroutines, one after the other, in one loop. What a callback raises fails the test."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if request.param == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    raised: list[dict[str, Any]] = []
    gc.freeze()  # What is there already need not be looked through at the end.
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: raised.append(context))
        yield runner.run
        gc.collect()  # A task's exception that nobody asked for is told when the task goes.
    gc.unfreeze()
    assert raised == [], [str(one) for one in raised]


def descriptors() -> dict[str, str]:
    """Open sockets, events, namespaces and TAPs. A pipe stays: uvloop keeps one for its loops."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            what = str(path.readlink())
        except OSError:
            continue  # the one that lists the folder
        if not what.startswith("pipe:"):
            found[path.name] = what
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No descriptor outlives a test, and no thread but one of wgvx.threads."""
    before, threads = descriptors(), set(threading.enumerate())
    yield
    assert {fd: what for fd, what in descriptors().items() if before.get(fd) != what} == {}
    assert {one.name for one in set(threading.enumerate()) - threads} <= {"resolver", "reload"}

"""Blocking calls off the event loop, in threads that the end of the process does not wait for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], name: str) -> T:
    """What `work` returns or, as an OSError, raises: the loop's own executor is joined at exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def succeed(result: T) -> None:
        if not future.cancelled():
            future.set_result(result)

    def fail(error: OSError) -> None:
        if not future.cancelled():
            future.set_exception(error)

    def run() -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            try:
                result = work()
            except OSError as error:
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(succeed, result)

    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError as error:  # No more threads now: the next try may have one.
        raise OSError(str(error)) from None
    return await future

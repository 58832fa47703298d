"""Runs a coroutine on the fastest event loop there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def _loop_factory() -> LoopFactory:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def run(
    main: Coroutine[Any, Any, T], make: Callable[[LoopFactory], LoopFactory] | None = None
) -> T:
    """As asyncio.run, on uvloop where that is installed. ``make`` has a say in how the loop is
    made."""
    factory = _loop_factory()
    if make is not None:
        factory = make(factory)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)

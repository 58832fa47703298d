"""Rounds that need something new each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture


def with_new(
    benchmark: BenchmarkFixture,
    function: Callable[..., object],
    make: Callable[[], tuple[Any, ...]],
    rounds: int,
) -> None:
    """Measure ``function(*make())``, without what ``make`` costs."""
    pedantic: Callable[..., object] = benchmark.pedantic
    pedantic(function, setup=lambda: (make(), {}), rounds=rounds)

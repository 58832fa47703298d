"""Rounds that need something new each time, and what they mean in bits per second."""

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


def note_rate(benchmark: BenchmarkFixture, size: int) -> None:
    """Keep, beside the times, the Gbit/s that they mean for rounds of ``size`` bytes."""
    if benchmark.stats:
        median: float = benchmark.stats.stats.median
        benchmark.extra_info["gbit_per_s"] = round(8 * size / median / 1e9, 3)

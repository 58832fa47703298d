"""CoDel (RFC 8289) as the native data plane applies it to its receive buffers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.native.parts import build_parts

CDEF = """
struct codel { uint64_t first_above; uint64_t drop_next; uint32_t count; bool dropping; };
static bool codel_drops(struct codel *, uint64_t waited, uint64_t now, uint64_t target,
                        uint64_t interval);
"""
TARGET, INTERVAL = 500, 10_000
STEP = 100
"""Between two packets."""


class Queue:
    def __init__(self, ffi: Any, lib: Any) -> None:
        self._codel = ffi.new("struct codel *")
        self._drops = lib.codel_drops
        self.now = 1_000_000

    def pass_packets(self, waited: int, duration: int) -> Iterator[int]:
        """When packets are dropped, counted from now, while each waits as long."""
        start = self.now
        while self.now < start + duration:
            if self._drops(self._codel, waited, self.now, TARGET, INTERVAL):
                yield self.now - start
            self.now += STEP


@pytest.fixture(scope="module")
def codel() -> tuple[Any, Any]:
    return build_parts("codel", CDEF, [], source='#include "codel.h"', libraries=["m"])


@pytest.fixture
def queue(codel: tuple[Any, Any]) -> Queue:
    return Queue(*codel)


def test_a_short_queue_loses_nothing(queue: Queue) -> None:
    assert not list(queue.pass_packets(TARGET - 1, 100 * INTERVAL))


def test_a_burst_shorter_than_an_interval_loses_nothing(queue: Queue) -> None:
    for _ in range(20):
        assert not list(queue.pass_packets(10 * TARGET, INTERVAL - STEP))
        assert not list(queue.pass_packets(TARGET - 1, STEP))


def test_a_standing_queue_loses_one_an_interval_and_then_more_often(queue: Queue) -> None:
    drops = list(queue.pass_packets(TARGET, 20 * INTERVAL))
    assert drops[0] == INTERVAL
    gaps = [later - earlier for earlier, later in pairwise(drops)]
    assert gaps[0] == INTERVAL
    assert all(gap <= before + STEP for before, gap in pairwise(gaps))
    # The law is interval / sqrt(count), so n drops take about 2 sqrt(n) intervals.
    assert 80 < len(drops) < 120


def test_it_ends_at_once_when_the_queue_does(queue: Queue) -> None:
    assert list(queue.pass_packets(TARGET, 5 * INTERVAL))
    assert not list(queue.pass_packets(TARGET - 1, INTERVAL))
    assert not list(queue.pass_packets(TARGET, INTERVAL - STEP))


def test_a_queue_that_comes_back_soon_is_met_where_it_was_left(queue: Queue) -> None:
    first = list(queue.pass_packets(TARGET, 10 * INTERVAL))
    assert not list(queue.pass_packets(0, STEP))
    again = list(queue.pass_packets(TARGET, 3 * INTERVAL))
    fresh = [at for at in first if at < 3 * INTERVAL]
    assert len(again) > len(fresh)

"""So many a second, and as many at once."""

from __future__ import annotations

import pytest

from wgvx.vxlan.bucket import Bucket

SECOND = 1_000_000_000


def test_it_begins_with_a_seconds_worth_and_fills_again() -> None:
    bucket = Bucket()
    assert bucket.take(10, 25, 5) == 10
    assert bucket.take(10, 1, 5) == 0
    assert bucket.take(10, 5, 5 + SECOND // 10) == 1
    assert bucket.take(10, 25, 5 + 60 * SECOND) == 10


def test_parts_of_a_frame_add_up() -> None:
    bucket = Bucket()
    assert bucket.take(3, 3, 0) == 3
    passed = sum(bucket.take(3, 1, now) for now in range(0, 10 * SECOND + 1, SECOND // 100))
    assert passed == 30


def test_time_that_goes_back_adds_nothing() -> None:
    bucket = Bucket()
    assert bucket.take(1, 1, 10 * SECOND) == 1
    assert bucket.take(1, 1, 5 * SECOND) == 0
    assert bucket.take(1, 1, 10 * SECOND + 1) == 0
    assert bucket.take(1, 1, 11 * SECOND) == 1


@pytest.mark.parametrize("rate", [1, 3, 7, 999_999_999, SECOND])
def test_any_rate(rate: int) -> None:
    bucket = Bucket()
    # Rounding costs to whole nanoseconds never lets less pass than was asked for.
    assert rate <= bucket.take(rate, 2 * SECOND, 0) <= rate * 1.5 + 1

"""Stamps that only rise, and never beyond what a restart will know of."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from wgvx.wireguard.tai64n import TAI64_BASE, TimestampSource, label

SECOND = 10**9
YEAR = 365 * 86400 * SECOND
NOW = 1_700_000_000 * SECOND


class Disk:
    """What a process leaves to the next one."""

    def __init__(self) -> None:
        self.bound = 0
        self.writes = 0

    def store(self, bound: int) -> None:
        assert bound > self.bound
        self.bound = bound
        self.writes += 1


clock_step = st.one_of(
    st.integers(0, 30 * 10**6),
    st.integers(0, 200 * SECOND),
    st.integers(-10 * SECOND, 0),
    st.sampled_from([-YEAR, YEAR, -1, 0, 1, SECOND, -SECOND, -61 * SECOND]),
)
event = st.one_of(clock_step, st.sampled_from(["crash", "stop"]))


@given(start=st.integers(0, 2 * NOW), events=st.lists(event, max_size=60))
def test_rises_strictly_across_restarts_and_clock_steps(
    start: int, events: list[int | str]
) -> None:
    disk = Disk()
    source = TimestampSource(disk.bound, disk.store)
    clock = start
    last = bytes(12)
    for happened in events:
        if happened == "crash":
            source = TimestampSource(disk.bound, disk.store)
            continue
        if happened == "stop":
            disk.bound = min(disk.bound, source.last)
            source = TimestampSource(disk.bound, disk.store)
            continue
        assert isinstance(happened, int)
        clock = max(0, clock + happened)
        stamp = source.next(clock)
        assert stamp > last
        assert stamp <= label(disk.bound), "used before it was stored"
        assert stamp[9:] == bytes(3), "nanoseconds tell of our clock"
        last = stamp


def test_the_label_of_a_time() -> None:
    stamp = label(NOW + 987_654_321)
    assert len(stamp) == 12
    seconds, nanoseconds = struct.unpack(">QI", stamp)
    assert seconds == 0x400000000000000A + 1_700_000_000
    assert nanoseconds == 987_654_321 & 0xFF000000
    assert TAI64_BASE == 0x400000000000000A


def test_follows_the_clock_where_that_rises() -> None:
    source = TimestampSource(0, Disk().store)
    for step in range(5):
        assert source.next(NOW + step * SECOND) == label(NOW + step * SECOND)


def test_a_clock_set_back_a_year_does_not_set_the_stamp_back() -> None:
    source = TimestampSource(0, Disk().store)
    before = source.next(NOW)
    after = source.next(NOW - YEAR)
    assert before < after < label(NOW + SECOND)


def test_writes_once_a_minute_not_once_a_handshake() -> None:
    disk = Disk()
    source = TimestampSource(0, disk.store)
    for tick in range(300):
        source.next(NOW + tick * SECOND // 2)
    assert disk.writes == 3


def test_a_stamp_lies_a_minute_ahead_at_most_after_a_crash() -> None:
    disk = Disk()
    TimestampSource(0, disk.store).next(NOW)
    stamp = TimestampSource(disk.bound, disk.store).next(NOW)
    assert label(NOW + 60 * SECOND) < stamp <= label(NOW + 61 * SECOND)


def test_nothing_is_written_before_a_first_stamp() -> None:
    disk = Disk()
    source = TimestampSource(5 * SECOND, disk.store)
    assert source.last == 5 * SECOND
    assert disk.writes == 0

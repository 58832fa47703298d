"""native/replay.c against its Python twin."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.parts import build_parts
from wgvx.wireguard.constants import REPLAY_WINDOW as WINDOW
from wgvx.wireguard.replay import ReplayWindow

ffi, lib = build_parts(
    "replay",
    """
    #define REPLAY_WINDOW ...
    struct replay { ...; };
    bool replay_accept(struct replay *, uint64_t counter);
    """,
    ["replay.c"],
)

HIGHEST = 2**64 - 2

# Around the highest counter so far: near it, and at the edges of words, ring and window.
step = st.one_of(
    st.integers(-130, 130),
    st.builds(
        int.__add__, st.sampled_from([WINDOW, -WINDOW, 8192, -8192, 64, -64]), st.integers(-3, 3)
    ),
    st.integers(-3 * WINDOW, 3 * WINDOW),
    st.integers(0, 2**64),
)


def compare(counters: Iterable[int]) -> None:
    native, twin = ffi.new("struct replay *"), ReplayWindow()
    for counter in counters:
        assert lib.replay_accept(native, counter) == twin.accept(counter), counter


@given(start=st.sampled_from([0, 1, 63, WINDOW, 2**32 - 5, HIGHEST - 20]), steps=st.lists(step))
def test_sequences(start: int, steps: list[int]) -> None:
    highest, counters = start, [start]
    for delta in steps:
        counters.append(min(max(highest + delta, 0), HIGHEST))
        highest = max(highest, counters[-1])
    compare(counters)


@pytest.mark.parametrize("spread", [10, 64, 1000, WINDOW, 3 * WINDOW])
def test_long_disorder(spread: int) -> None:
    chance = random.Random(spread)
    compare(max(0, i + chance.randrange(-spread, spread + 1)) for i in range(30_000))


@pytest.mark.parametrize("offset", [0, 1, 62, 63])
def test_all_of_the_window_wherever_its_end_is(offset: int) -> None:
    highest = 10 * WINDOW + offset
    backwards = range(highest, highest - WINDOW - 70, -1)
    compare([*backwards, *backwards, *range(200)])


def test_the_window_is_the_twins() -> None:
    assert lib.REPLAY_WINDOW == WINDOW

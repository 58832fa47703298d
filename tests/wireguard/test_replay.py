"""The replay window against a model that remembers every counter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wgvx.wireguard.replay import ReplayWindow

WINDOW = 8128
HIGHEST = 2**64 - 2**13 - 2


class Model:
    """All counters ever seen; accept iff not below ``highest - 8128`` and not seen."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def accept(self, counter: int) -> bool:
        if counter in self.seen or counter < max(self.seen, default=0) - WINDOW:
            return False
        self.seen.add(counter)
        return True


# Steps around the last highest counter: small ones, and those that meet the window's edges.
step = st.one_of(
    st.integers(-40, 40),
    st.integers(-3, 3).flatmap(
        lambda d: st.sampled_from([WINDOW + d, -WINDOW + d, 64 + d, -64 + d])
    ),
    st.integers(-3 * WINDOW, 3 * WINDOW),
    st.integers(0, 2**64),
)


@given(start=st.sampled_from([0, 1, WINDOW, 2**32 - 5, HIGHEST - 20]), steps=st.lists(step))
def test_agrees_with_the_model(start: int, steps: list[int]) -> None:
    window, model = ReplayWindow(), Model()
    highest = start
    for delta in [0, *steps]:
        counter = min(max(highest + delta, 0), HIGHEST)
        highest = max(highest, counter)
        assert window.accept(counter) == model.accept(counter)


def test_the_edge_of_the_window() -> None:
    window = ReplayWindow()
    assert window.accept(WINDOW + 5)
    assert not window.accept(4)
    assert window.accept(5)
    assert not window.accept(5)
    assert window.accept(6)


def test_a_far_jump_forgets_the_old_and_keeps_the_new() -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in range(10))
    assert window.accept(HIGHEST)
    assert not window.accept(HIGHEST)
    assert not any(window.accept(counter) for counter in range(20))
    assert window.accept(HIGHEST - WINDOW)


def test_the_whole_window_in_reverse() -> None:
    window = ReplayWindow()
    backwards = range(WINDOW, -1, -1)
    assert all(window.accept(counter) for counter in backwards)
    assert not any(window.accept(counter) for counter in backwards)

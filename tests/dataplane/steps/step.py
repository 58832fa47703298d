"""What a step is, and what all kinds of steps are drawn with.

Steps name peers, ports and networks by any number at all: it is taken modulo how many there are, so
that a sequence stays one when hypothesis takes steps out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from hypothesis import strategies as st

from tests.dataplane.twins import Twins

numbers = st.integers(0, 7)
families = st.sampled_from((4, 4, 6))


class Step(Protocol):
    """One thing that happens."""

    def run(self, twins: Twins) -> None:
        """Let it happen to both."""


def pick(number: int, among: Iterable[int]) -> int | None:
    choices = list(among)
    return choices[number % len(choices)] if choices else None


def weighted(*pairs: tuple[int, st.SearchStrategy[Step]]) -> st.SearchStrategy[Step]:
    """one_of() would give each of all their branches the same chance."""
    chosen = [strategy for weight, strategy in pairs for _ in range(weight)]
    return st.sampled_from(range(len(chosen))).flatmap(lambda n: chosen[n])

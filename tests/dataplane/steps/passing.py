"""Steps in which time passes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.dataplane.rig import SECOND
from tests.dataplane.twins import DAY, Twins


@dataclass(frozen=True)
class Pass:
    """Time passes; the tables are aged, or not."""

    nanoseconds: int
    age: bool

    def run(self, twins: Twins) -> None:
        twins.now += self.nanoseconds
        if self.age:
            twins.both("age", twins.now)


_PASSES = [1, *(seconds * SECOND for seconds in (1, 5, 10, 15, 16, 45, 75, 105))]
_PASSES += [120 * SECOND, 165 * SECOND, 180 * SECOND, 120 * SECOND - 1, 165 * SECOND - 1]
passes = st.builds(Pass, st.sampled_from([*_PASSES, 180 * SECOND - 1, DAY]), st.booleans())

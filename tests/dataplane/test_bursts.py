"""A burst has the effect of its packets one by one, in order."""

from __future__ import annotations

from hypothesis import given, settings

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.mixture import (
    Step,
    events,
    prepare,
    run_in_bursts,
    run_one_by_one,
    state,
    steps,
)
from tests.dataplane.rig import Rig


@given(sequence=steps)
@settings(max_examples=150)
def test_bursts_equal_packets_one_by_one(
    dataplane_class: DataPlaneClass, sequence: list[Step]
) -> None:
    together, apart = (Rig(dataplane_class, peers=3, forward=True) for _ in range(2))
    prepare(together)
    prepare(apart)
    bursts, singles = run_in_bursts(together, sequence), run_one_by_one(apart, sequence)
    for what in ("frames", "datagrams", "handshakes"):
        of_bursts = [item for burst in bursts for item in getattr(burst, what)]
        of_singles = [item for burst in singles for item in getattr(burst, what)]
        assert of_bursts == of_singles, what
    assert events(bursts) == events(singles)
    assert state(together) == state(apart)


@given(sequence=steps)
@settings(max_examples=50)
def test_the_same_packets_have_the_same_effect_each_time(
    dataplane_class: DataPlaneClass, sequence: list[Step]
) -> None:
    """Every free field is a function of the packet and of state: nothing is drawn."""
    first, second = (Rig(dataplane_class, peers=3, forward=True) for _ in range(2))
    prepare(first)
    prepare(second)
    assert run_in_bursts(first, sequence) == run_in_bursts(second, sequence)
    assert state(first) == state(second)

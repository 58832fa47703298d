"""The seed of a simulation: another one each time, printed, and given again by hand."""

from __future__ import annotations

import os
import random

import pytest

VARIABLE = "WGVX_SIM_SEED"


@pytest.fixture
def seed() -> int:
    """What a world is drawn from; ``WGVX_SIM_SEED=N`` repeats a run."""
    given = os.environ.get(VARIABLE)
    number = int(given) if given else random.SystemRandom().randrange(1 << 32)
    print(f"seed {number}: {VARIABLE}={number} repeats this run")
    return number

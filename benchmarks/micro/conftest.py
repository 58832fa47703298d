"""What is measured of every data plane is measured in the same way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wgvx.dataplane.interface import DataPlane
from wgvx.dataplane.reference import ReferenceDataPlane


@pytest.fixture(params=[ReferenceDataPlane], ids=lambda made: str(made.name))
def dataplane_class(request: pytest.FixtureRequest) -> Callable[[], DataPlane]:
    made: Callable[[], DataPlane] = request.param
    return made

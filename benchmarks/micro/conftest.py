"""What is measured of every data plane is measured in the same way."""

from __future__ import annotations

import pytest

from tests.support.dataplanes import DATAPLANES, DataPlaneClass


@pytest.fixture(params=DATAPLANES)
def dataplane_class(request: pytest.FixtureRequest) -> DataPlaneClass:
    made: DataPlaneClass = request.param
    return made

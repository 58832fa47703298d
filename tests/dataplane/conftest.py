"""Every test here holds for every data plane."""

from __future__ import annotations

import pytest

from tests.dataplane.rig import Rig
from tests.support.dataplanes import DATAPLANES, DataPlaneClass

__all__ = ["DataPlaneClass"]


@pytest.fixture(params=DATAPLANES, scope="session")
def dataplane_class(request: pytest.FixtureRequest) -> DataPlaneClass:
    made: DataPlaneClass = request.param
    return made


@pytest.fixture
def rig(dataplane_class: DataPlaneClass) -> Rig:
    """One peer, number 2, with a session; one network with one port."""
    return Rig(dataplane_class)


@pytest.fixture
def rig3(dataplane_class: DataPlaneClass) -> Rig:
    """Peers 2, 3 and 4, each with a session."""
    return Rig(dataplane_class, peers=3)


@pytest.fixture
def hub(dataplane_class: DataPlaneClass) -> Rig:
    """The same, and the node forwards between them."""
    return Rig(dataplane_class, peers=3, forward=True)

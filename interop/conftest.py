"""What all scenarios need: a laboratory, the tools, and somebody to meet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.kernel.host import has_wireguard
from interop.kernel.shared import SharedGuest
from interop.matches import BORINGTUN, DATAPLANES, GO, KERNEL, MATCHES, NEWEST_GO, WGVX, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import BoringtunNode, Far, KernelNode, NewestGoNode
from interop.report import Results
from interop.together import Together
from interop.tools import obstacle
from tests.conftest import (  # noqa: F401 - hooks: what holds for all tests holds here
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_xdist_make_scheduler,
)
from tests.netns import lab as lab_module
from tests.netns.conftest import lab  # noqa: F401 - a fixture, found by its name
from tests.netns.lab import Lab, Namespace
from tests.netns.nodes import WgvxNode
from tests.netns.vxlan_nodes import GoNode

RESULTS: Results | None = None
"""What "./dev interop" makes its report of."""
# Workers of pytest-xdist tell their outcomes to the process that has started them.
if (file := os.environ.get("WGVX_INTEROP_RESULTS")) and "PYTEST_XDIST_WORKER" not in os.environ:
    RESULTS = Results(Path(file))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless asked for by ``WGVX_NIGHTLY=1``."""
    if os.environ.get("WGVX_NIGHTLY") == "1":
        return
    nightly = [item for item in items if item.get_closest_marker("nightly") is not None]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if item not in nightly]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, saying what would make it run."""
    item.user_properties += _place_in_the_report(item)
    if item.get_closest_marker("netns") is None:
        return
    if reason := obstacle():
        pytest.skip(reason)


def _place_in_the_report(item: pytest.Item) -> list[tuple[str, object]]:
    assert isinstance(item, pytest.Function)
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    played: Match | None = parameters.get("match", parameters.get("standing"))
    return [
        ("module", item.path.stem.removeprefix("test_").replace("_", " ")),
        ("test", item.originalname),
        ("far", played.far if played else getattr(item.module, "FAR", "")),
        ("dataplane", played.dataplane if played else parameters.get("dataplane", "")),
    ]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep how each test went; of one that took its worker with it nothing is known."""
    if RESULTS is None or not report.user_properties:
        return
    if report.when == "call" or report.outcome != "passed":
        RESULTS.add(report.user_properties, report.outcome)


@pytest.fixture(params=DATAPLANES)
def dataplane(request: pytest.FixtureRequest) -> str:
    """Which of wgvx's data planes, as ``wgvx up --dataplane`` takes it."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedGuest]:
    """The guest whose kernel has WireGuard; it boots when somebody first asks for it."""
    lab_module.sweep()
    shared = SharedGuest(tmp_path_factory.mktemp("guest"))
    try:
        yield shared
    finally:
        shared.close()


@pytest.fixture(scope="session")
def make_far(guest: SharedGuest) -> MakeFar:
    """Makes a node of some kind on a host of the lab."""
    daemons = {GO: GoNode, NEWEST_GO: NewestGoNode, BORINGTUN: BoringtunNode}

    def make(kind: str, host: Namespace, label: str, **options: Any) -> Far:
        if kind == WGVX:
            options.pop("tunnel_mtu", None)
            options.pop("mtu", None)
            return WgvxNode(host, label, host.index, **options)
        if kind != KERNEL:
            return daemons[kind](host, label, **options)
        address = {family: host.address(family) for family in (4, 6)}
        place = host if has_wireguard() else guest.stand_in(host)
        return KernelNode(place, label, host.index, address=address, **options)

    return make


@pytest.fixture(params=MATCHES, ids=str)
def match(request: pytest.FixtureRequest) -> Match:
    """Who meets whom."""
    found: Match = request.param
    return found


@pytest.fixture(scope="module", params=MATCHES, ids=str)
def standing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_far: MakeFar
) -> Iterator[Pair]:
    """A pair that all tests of a module share, because they leave it as it was."""
    folder: Path = tmp_path_factory.mktemp("standing")
    made = Lab(folder)
    try:
        yield make_pair(made, request.param, make_far)
    finally:
        made.close()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, make_far: MakeFar) -> Iterator[Together]:
    """A pair for each match, all at the same time, for all tests of a module."""
    made = Lab(tmp_path_factory.mktemp("together"))
    try:
        yield Together({match: make_pair(made, match, make_far) for match in MATCHES})
    finally:
        made.close()

"""What all scenarios need: a laboratory, the tools, and somebody to meet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.kernel.host import has_wireguard
from interop.kernel.packages import obstacle
from interop.kernel.shared import SharedGuest
from interop.matches import BORINGTUN, DATAPLANES, GO, KERNEL, MATCHES, NEWEST_GO, WGVX, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import BoringtunNode, Far, KernelNode, NewestGoNode
from tests.conftest import (  # noqa: F401 - hooks: in CI, as root, nothing may skip here either
    pytest_make_collect_report,
    pytest_runtest_makereport,
)
from tests.netns import lab as lab_module
from tests.netns.conftest import NETNS_TOOLS, lab  # noqa: F401 - a fixture, found by its name
from tests.netns.lab import Lab, Namespace
from tests.netns.nodes import WgvxNode
from tests.netns.vxlan_nodes import GoNode

# Command -> Debian package.
TOOLS = NETNS_TOOLS | {
    "busybox": "busybox-static",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "tcpreplay": "tcpreplay",
    "tshark": "tshark",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, saying what would make it run."""
    if item.get_closest_marker("netns") is None:
        return
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev interop")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        packages = " ".join(missing)
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {packages}")
    if not has_wireguard() and (reason := obstacle()):
        pytest.skip(f"no kernel WireGuard here, nor a guest that has it: {reason}")


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

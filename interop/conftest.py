"""What all scenarios need: a laboratory, both data planes, and the tools."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.netns.conftest import NETNS_TOOLS, lab  # noqa: F401 - a fixture, found by its name

# Command -> Debian package.
TOOLS = NETNS_TOOLS | {
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
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


@pytest.fixture(params=["native", "reference"])
def dataplane(request: pytest.FixtureRequest) -> str:
    """Which of wgvx's data planes, as ``wgvx up --dataplane`` takes it."""
    name: str = request.param
    return name

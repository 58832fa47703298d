"""A lab for each test, where there are the privilege and the tools to make one."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import lab as lab_module
from tests.netns.lab import Lab

# Command -> Debian package.
COMMON_TOOLS = {"ip": "iproute2", "ping": "iputils-ping", "setpriv": "util-linux"}
ROOTLESS_TOOLS = COMMON_TOOLS | {"unshare": "util-linux"}
NETNS_TOOLS = COMMON_TOOLS | {
    "bridge": "iproute2",
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, saying what would make it run.

    Done in a hook, not in fixtures: pytest then folds all skips for one reason into one line.
    """
    in_namespaces = item.get_closest_marker("netns") is not None
    if in_namespaces and os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev test tests/netns")
    tools = NETNS_TOOLS if in_namespaces else ROOTLESS_TOOLS
    missing = sorted({package for tool, package in tools.items() if shutil.which(tool) is None})
    if missing:
        # wireguard-go recommends a whole kernel.
        packages = " ".join(missing)
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {packages}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Namespaces and processes for one test, which must be marked ``netns``."""
    lab_module.sweep()
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def proxied() -> None:
    """A stack that is built, and a client for its proxies."""
    if importlib.util.find_spec("wgvx._stack") is None:
        pytest.skip("wgvx was built without lwIP: ./dev lwip")
    if shutil.which("curl") is None:
        pytest.skip("missing: apt-get install -y curl")

"""A lab for each test, where there are the privilege and the tools to make one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import lab as lab_module
from tests.netns.lab import Lab

# Command -> Debian package.
TOOLS = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "ping": "iputils-ping",
    "setpriv": "util-linux",
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
}


@pytest.fixture(scope="session")
def tools() -> None:
    """Skip where a command is missing, naming the line that brings it."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        pytest.skip(
            f"missing: apt-get install -y --no-install-recommends {' '.join(missing)}",
        )


@pytest.fixture
def lab(tools: None, tmp_path: Path) -> Iterator[Lab]:  # noqa: ARG001 - asked for to skip
    """Namespaces and processes for one test; ``@pytest.mark.netns`` needs root for them."""
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev test tests/netns")
    lab_module.sweep()
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()

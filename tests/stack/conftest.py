"""A lab where there is root and lwIP was built."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import lab as lab_module
from tests.netns.lab import Lab

TOOLS = {"ip": "iproute2", "ping": "iputils-ping", "curl": "curl"}


@pytest.fixture
def built() -> None:
    if importlib.util.find_spec("wgvx._stack") is None:
        pytest.skip("wgvx was built without lwIP: ./dev lwip")


@pytest.fixture
def lab(tmp_path: Path, built: None) -> Iterator[Lab]:  # noqa: ARG001 - asked for its skip
    """Namespaces and processes for one test, which take root to make."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev test tests/stack")
    lab_module.sweep()
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()

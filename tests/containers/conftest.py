"""What containers take: root, podman, and a machine that lets it run one."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.containers.container import RUN, empty_root, podman
from tests.containers.seccomp import write_dockers
from tests.netns.conftest import NETNS_TOOLS, lab  # noqa: F401 - a fixture, found by its name

TOOLS = NETNS_TOOLS | {"podman": "podman", "runc": "runc", "curl": "curl"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("netns") is None:
        return
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev test tests/containers")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {' '.join(missing)}")
    if importlib.util.find_spec("wgvx._stack") is None:
        pytest.skip("wgvx was built without lwIP: ./dev lwip")
    if reason := _no_container():
        pytest.skip(f"this machine runs no container: {reason}")


@functools.cache
def _no_container() -> str:
    """Why podman runs nothing here; empty where it does."""
    root = empty_root()
    try:
        command = [*podman(), *RUN, "--rm", "--network", "none", "--volume", "/usr:/usr:ro"]
        done = subprocess.run(
            [*command, "--rootfs", str(root), "true"], check=False, capture_output=True, text=True
        )
        return done.stderr.strip() if done.returncode else ""
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def dockers_seccomp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dockers(tmp_path_factory.mktemp("seccomp") / "docker.json")

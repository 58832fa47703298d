"""Namespaces and users for the tests of ports, and a look at what each test leaves behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns import lab as lab_module
from tests.netns.lab import Lab, Namespace
from tests.ports import ordinary

TOOLS = {"ip": "iproute2", "ping": "iputils-ping", "setpriv": "util-linux"}


def require_tools() -> None:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {' '.join(missing)}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Namespaces and processes for one test, which take root to make."""
    require_tools()
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev test tests/ports")
    lab_module.sweep()
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def host(lab: Lab) -> Namespace:
    """One empty network namespace."""
    return lab.host("p")


@pytest.fixture(scope="session")
def user() -> ordinary.User:
    """An account without any privilege that can make rootless namespaces."""
    require_tools()
    account = ordinary.User()
    refusal = account.python(
        "from wgvx.probe import taps; print(taps.attempt(rootless=True).problem or '')",
    ).stdout.strip()
    if refusal:
        pytest.skip(f"no rootless namespaces: {refusal}")
    return account


def children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        found.update((task / "children").read_text().split())
    return found


def descriptors() -> dict[str, str]:
    """Open TAPs, namespaces and sockets. A pipe stays: uvloop keeps one for all its loops."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        try:
            what = str(path.readlink())
        except OSError:
            continue  # the one that lists the folder
        if what == "/dev/net/tun" or what.startswith(("net:", "user:", "socket:")):
            found[path.name] = what
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process and no descriptor outlives a test."""
    processes, open_before = children(), descriptors()
    yield
    assert children() <= processes
    assert {fd: what for fd, what in descriptors().items() if fd not in open_before} == {}

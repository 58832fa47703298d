"""Users with folders of their own to run nodes in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.ports.ordinary import User


@pytest.fixture(scope="module")
def user() -> User:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("missing: apt-get install -y --no-install-recommends util-linux")
    return User()


@pytest.fixture
def place(user: User) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="wgvx-test-", dir="/tmp"))
    made = Place(folder, user)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


@pytest.fixture
def rootless(place: Place) -> Place:
    """Where this user can have namespaces."""
    tried = place.wgvx("up", "a", "--", "true")
    if tried.returncode != 0:
        pytest.skip(f"no rootless namespaces: {tried.stderr.strip()}")
    return place

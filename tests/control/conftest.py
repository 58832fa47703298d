"""Event loops and folders for the tests of how a running node is asked and told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import nothing_left, run
from wgvx.control import paths, uapi_server

__all__ = ["nothing_left", "run"]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test's nodes have their locks and sockets: a short path, as sockets need."""
    made = Path(tempfile.mkdtemp(prefix="wgvx-test-", dir="/tmp"))
    monkeypatch.setattr(paths, "folders", lambda: [made])
    monkeypatch.setattr(uapi_server, "FOLDER", made / "wireguard")
    yield made
    shutil.rmtree(made)

"""A node with nothing to do does nothing."""

from __future__ import annotations

import time

import pytest

from tests.netns.lab import Lab
from tests.netns.nodes import wgvx_pair
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(60)]

WATCH_SECONDS = 10
IDLE_SHARE = 0.005


def test_idle_node_uses_no_processor(lab: Lab) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    assert_ping(a.host, b.address[4])
    assert a.process is not None
    time.sleep(2)  # what the kernel says on a new link has been said
    before = a.process.cpu_seconds()
    time.sleep(WATCH_SECONDS)
    used = a.process.cpu_seconds() - before
    assert used / WATCH_SECONDS < IDLE_SHARE

"""What a native worker leaves unread when it is late (native/codel.h)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.dataplanes import NATIVE
from wgvx.drops import Reason

if TYPE_CHECKING:  # It may not be built.
    from wgvx.dataplane.native import NativeDataPlane

LATE = 0.001
"""Seconds, several times what a queue may stand for."""
LARGE = bytes([9]) * 1200
"""Counts as malformed once it is read."""
SMALL = struct.pack("<I", 1).ljust(148, b"\0")
"""Counts as bad_mac1."""
UDP_SEGMENT, UDP_GRO = 103, 104


class LateReader:
    """A worker that reads a socket only when told."""

    def __init__(self, plane: NativeDataPlane, stack: ExitStack) -> None:
        self.plane = plane
        self._ours, self._theirs = (
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        )
        self._ours.bind(("127.0.0.1", 0))
        self._ours.setblocking(False)
        self._ours.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._theirs.connect(self._ours.getsockname())
        self._sent = 0
        self.read()

    def send(self, *datagrams: bytes) -> None:
        """In one piece, as UDP_SEGMENT sends and UDP_GRO receives them."""
        size = struct.pack("H", len(datagrams[0]))
        control = [(socket.IPPROTO_UDP, UDP_SEGMENT, size)] if len(datagrams) > 1 else []
        self._theirs.sendmsg(datagrams, control)
        self._sent += len(datagrams)

    def stop_reading(self) -> None:
        self.plane.attach_socket(1, 4, -1)

    def read(self) -> None:
        """All that is there, and wait until it is counted."""
        self.plane.attach_socket(1, 4, self._ours.fileno())
        give_up = time.monotonic() + 5
        while sum(self.plane.drops().values()) < self._sent:
            assert time.monotonic() < give_up, self.plane.drops()


@pytest.fixture(params=NATIVE)
def reader(request: pytest.FixtureRequest) -> Iterator[LateReader]:
    make: Callable[[], NativeDataPlane] = request.param
    plane = make()
    with ExitStack() as stack:
        late = LateReader(plane, stack)
        plane.start(1)
        stack.callback(plane.stop)
        yield late


@pytest.mark.parametrize("pause", [0.0, 0.005])
def test_a_datagram_that_found_nobody_waiting_is_read_however_late(
    reader: LateReader, pause: float
) -> None:
    for _ in range(50):
        reader.stop_reading()
        reader.send(LARGE)
        time.sleep(LATE)
        reader.read()
        time.sleep(pause)
    drops = reader.plane.drops()
    assert drops[Reason.CONGESTED] == 0
    assert drops[Reason.MALFORMED] == 50


def test_of_a_standing_queue_small_datagrams_are_kept(reader: LateReader) -> None:
    rounds, give_up = 0, time.monotonic() + 20
    while reader.plane.drops()[Reason.CONGESTED] < 10:
        assert time.monotonic() < give_up, reader.plane.drops()
        reader.stop_reading()
        for _ in range(4):
            reader.send(LARGE, LARGE, SMALL)
        time.sleep(LATE)
        reader.read()
        rounds += 1
    drops = reader.plane.drops()
    assert drops[Reason.BAD_MAC1] == 4 * rounds
    assert drops[Reason.MALFORMED] + drops[Reason.CONGESTED] == 8 * rounds

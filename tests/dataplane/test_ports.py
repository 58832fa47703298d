"""Ports of every framing as one bridge, in the native data plane's workers: what enters at one
comes out at the others, finished where they take nothing else.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dataplane.rig import VNI, frame_to, mac
from tests.dataplane.steps.flows import super_frame
from tests.support.dataplanes import NATIVE
from tests.support.segmenter import TCP, UDP, VnetHeader, segment
from tests.vxlan.packets import BROADCAST
from wgvx.dataplane.interface import Framing, Network
from wgvx.drops import Reason
from wgvx.vxlan.fdb import Local

TAP, BARE, STREAM = 1, 2, 3
FRAMINGS = {TAP: Framing.VNET, BARE: Framing.BARE, STREAM: Framing.STREAM}
PATIENCE = 5.0
QUIET = 0.05


class Bridge:
    """A data plane with a port of each framing, and the far ends of their descriptors. Port n is
    where station n lives."""

    def __init__(self, plane: Any, workers: int, stack: ExitStack) -> None:
        self.plane = plane
        self.workers = workers
        self._stack = stack
        self._left = b""
        self.far: dict[int, socket.socket] = {}
        plane.set_public_key(bytes(32))
        plane.add_network(Network(VNI))
        for port in FRAMINGS:
            plane.add_port(VNI, port, mac(port) if port == TAP else None)
            self.connect(port)
        self.notice = plane.start(workers)

    def connect(self, port: int) -> None:
        """Another descriptor for a port."""
        kind = socket.SOCK_STREAM if port == STREAM else socket.SOCK_SEQPACKET
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        for end in (near, far):
            end.setblocking(False)
            self._stack.enter_context(end)
        self.plane.detach_port(port)
        for worker in range(1, self.workers + 1):
            offloads = frozenset(("tso", "uso")) if port == TAP else frozenset()
            self.plane.attach_port(worker, port, near.fileno(), FRAMINGS[port], offloads)
        self.far[port] = far
        if port == STREAM:
            self._left = b""

    def send(self, port: int, frame: bytes, header: VnetHeader | None = None) -> None:
        data = frame
        if port == TAP:
            data = (header or VnetHeader()).pack() + frame
        elif port == STREAM:
            data = struct.pack("!I", len(frame)) + frame
        assert self.far[port].send(data) == len(data)

    def receive(self, port: int, count: int) -> list[bytes]:
        """Frames that came out, as many as are told, or until nothing comes any more."""
        frames: list[bytes] = []
        while len(frames) < count:
            if port == STREAM and (frame := self._from_stream()) is not None:
                frames.append(frame)
                continue
            if not select.select([self.far[port]], [], [], PATIENCE)[0]:
                break
            data = self.far[port].recv(1 << 20)
            assert data, "the descriptor was closed"
            if port == STREAM:
                self._left += data
            elif port == TAP:
                frames += segment(VnetHeader.unpack(data[:10]), data[10:])
            else:
                frames.append(data)
        return frames

    def silent(self, port: int) -> bool:
        return not self._left and not select.select([self.far[port]], [], [], QUIET)[0]

    def _from_stream(self) -> bytes | None:
        if len(self._left) < 4:
            return None
        (length,) = struct.unpack_from("!I", self._left)
        if len(self._left) < 4 + length:
            return None
        frame, self._left = self._left[4 : 4 + length], self._left[4 + length :]
        return frame

    def gone(self) -> tuple[int, int] | None:
        assert select.select([self.notice], [], [], PATIENCE)[0]
        told: tuple[int, int] | None = self.plane.take_gone_port()
        return told

    def dropped(self, reason: Reason) -> int:
        count: int = self.plane.drops()[reason]
        return count


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@contextmanager
def bridged(make: Callable[[], Any], workers: int) -> Iterator[Bridge]:
    """It runs until then."""
    with ExitStack() as stack:
        made = Bridge(make(), workers, stack)
        try:
            yield made
        finally:
            made.plane.stop()


@pytest.fixture(params=NATIVE[-1:])
def make(request: pytest.FixtureRequest) -> Callable[[], Any]:
    made: Callable[[], Any] = request.param
    return made


@pytest.fixture
def bridge(make: Callable[[], Any], workers: int) -> Iterator[Bridge]:
    with bridged(make, workers) as made:
        yield made


@pytest.mark.parametrize("source", FRAMINGS)
def test_a_broadcast_comes_out_at_all_others(bridge: Bridge, source: int) -> None:
    frame = frame_to(BROADCAST, source + 10)
    bridge.send(source, frame)
    for port in FRAMINGS:
        if port == source:
            assert bridge.silent(port)
        else:
            assert bridge.receive(port, 1) == [frame]


@pytest.mark.parametrize("source", FRAMINGS)
@pytest.mark.parametrize("to", FRAMINGS)
def test_a_station_is_found_where_it_spoke(bridge: Bridge, source: int, to: int) -> None:
    if source == to:  # Its own stations talk without us.
        return
    bridge.send(to, frame_to(BROADCAST, to + 10))
    for port in FRAMINGS:
        if port != to:
            bridge.receive(port, 1)
    frame = frame_to(to + 10, source + 10, bytes(1000))
    bridge.send(source, frame)
    assert bridge.receive(to, 1) == [frame]
    assert all(bridge.silent(port) for port in FRAMINGS if port != to)


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["TCP", "UDP"])
def test_a_super_frame_is_cut_for_those_who_take_none(bridge: Bridge, protocol: int) -> None:
    header, frame = super_frame(protocol, 30000, 1300, station=BROADCAST, source=mac(9))
    expected = segment(header, frame)
    bridge.send(TAP, frame, header)
    for port in (BARE, STREAM):
        assert bridge.receive(port, len(expected)) == expected


def test_order_is_kept_across_whole_and_large_frames(bridge: Bridge) -> None:
    header, large = super_frame(TCP, 5000, 1300, station=BROADCAST, source=mac(9))
    expected = []
    for number in range(5):
        small = frame_to(BROADCAST, 9, bytes([number]) * 100)
        bridge.send(TAP, small)
        bridge.send(TAP, large, header)
        expected += [small, *segment(header, large)]
    for port in (BARE, STREAM):
        assert bridge.receive(port, len(expected)) == expected


@given(data=st.data(), sizes=st.lists(st.integers(14, 3000), min_size=1, max_size=20))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_may_arrive_in_any_pieces(
    make: Callable[[], Any], workers: int, data: st.DataObject, sizes: list[int]
) -> None:
    frames = [
        frame_to(BROADCAST, 13, bytes([number]) * (size - 14)) for number, size in enumerate(sizes)
    ]
    stream = b"".join(struct.pack("!I", len(frame)) + frame for frame in frames)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10))
    with bridged(make, workers) as bridge:
        for start, end in pairwise([0, *sorted(cuts), len(stream)]):
            if start < end:
                bridge.far[STREAM].send(stream[start:end])
                time.sleep(0.0005)
        assert bridge.receive(BARE, len(frames)) == frames


def test_who_does_not_read_loses_whole_frames_only(bridge: Bridge) -> None:
    sent = 0
    while bridge.dropped(Reason.PORT_FULL) < 10:
        frame = frame_to(BROADCAST, 12, sent.to_bytes(4, "big") + bytes(1300))
        try:
            bridge.send(BARE, frame)
        except BlockingIOError:
            time.sleep(0.001)
        else:
            sent += 1
        while select.select([bridge.far[TAP]], [], [], 0)[0]:
            bridge.far[TAP].recv(1 << 17)
    wanted = sent - bridge.dropped(Reason.PORT_FULL)
    received = bridge.receive(STREAM, wanted)
    assert len(received) == wanted
    numbers = [int.from_bytes(frame[14:18], "big") for frame in received]
    assert numbers == sorted(numbers)
    last = frame_to(BROADCAST, 12, b"last")
    bridge.send(BARE, last)
    assert bridge.receive(STREAM, 1) == [last]


@pytest.mark.parametrize("port", [BARE, STREAM])
def test_a_far_end_that_goes_is_told_once_and_may_come_back(bridge: Bridge, port: int) -> None:
    bridge.send(port, frame_to(BROADCAST, port + 10))
    assert bridge.receive(TAP, 1)
    bridge.far[port].close()
    assert bridge.gone() == (port, errno.ECONNRESET)
    assert bridge.plane.take_gone_port() is None
    bridge.plane.detach_port(port)
    bridge.send(TAP, frame_to(port + 10, 11))
    while not bridge.dropped(Reason.PORT_DOWN):
        time.sleep(0.001)
    rows = bridge.plane.fdb_rows(VNI, 0)
    assert mac(port + 10) in [row.mac for row in rows if row.where == Local(port)]
    bridge.connect(port)
    frame = frame_to(port + 10, 11, b"back again")
    bridge.send(TAP, frame)
    assert bridge.receive(port, 1) == [frame]


def test_a_storm_of_connections_changes_nothing(bridge: Bridge) -> None:
    bridge.send(STREAM, frame_to(BROADCAST, STREAM + 10))
    assert bridge.receive(TAP, 1)
    for number in range(100):
        bridge.connect(STREAM)
        # Half of a frame, which is not to be taken for the beginning of the next one's.
        bridge.far[STREAM].send(struct.pack("!I", 1500) + bytes(number))
        if number % 2:
            bridge.far[STREAM].close()
    bridge.connect(STREAM)
    rows = bridge.plane.fdb_rows(VNI, 0)
    assert mac(STREAM + 10) in [row.mac for row in rows if row.where == Local(STREAM)]
    frame = frame_to(STREAM + 10, 11, b"still known")
    bridge.send(TAP, frame)
    assert bridge.receive(STREAM, 1) == [frame]
    whole = frame_to(11, STREAM + 10, b"whole")
    bridge.send(STREAM, whole)
    assert bridge.receive(TAP, 1) == [whole]


def test_a_length_that_no_frame_has_ends_the_stream(bridge: Bridge) -> None:
    bridge.far[STREAM].send(struct.pack("!I", 65535 + 14 + 8 + 1) + bytes(100))
    assert bridge.gone() == (STREAM, errno.EPROTO)


def test_a_frame_of_nothing_is_short(bridge: Bridge) -> None:
    bridge.far[STREAM].send(struct.pack("!I", 0))
    while not bridge.dropped(Reason.SHORT_FRAME):
        time.sleep(0.001)

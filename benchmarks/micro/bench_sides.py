"""The two sides of a tunnel apart: a bulk TCP flow sealed at one end, opened at the other.

``gbit_per_s`` in the extra info is what one core does of that side alone: frames in memory to
datagrams in memory, or back, without a system call.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.rounds import note_rate, with_new
from tests.dataplane.rig import PORT, US, VNI, Rig, carrying, frame_to, mac, tunnel
from tests.native.superframes import content, tcp_segment
from tests.support.dataplanes import DataPlaneClass
from tests.support.segmenter import NEEDS_CSUM, TCP, TCPV4, VnetHeader
from tests.vxlan.packets import ipv4
from wgvx.dataplane.interface import Datagram

PAYLOAD = 1310
"""Of a TCP segment on an overlay of MTU 1350."""
SEGMENTS = 46
"""As many as fit into the 64 KiB that a kernel hands over at once."""
FLOW = PAYLOAD * SEGMENTS


def tcp_frame(destination: int, source: int, payload: bytes, seq: int = 1000) -> bytes:
    packet = ipv4(tcp_segment(payload, seq=seq), protocol=TCP)
    return frame_to(destination, source, packet, ethertype=0x0800)


def flow(destination: int, source: int) -> list[bytes]:
    """Segments of one flow, one behind the other."""
    return [
        tcp_frame(destination, source, content(PAYLOAD), 1000 + number * PAYLOAD)
        for number in range(SEGMENTS)
    ]


def test_seal_side(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    """Frame by frame, as from a TAP without offloads."""
    rig = Rig(dataplane_class)
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    frames = flow(2, US)
    assert len(rig.transmit(*frames).datagrams) == SEGMENTS
    benchmark.extra_info["per_round"] = SEGMENTS
    benchmark(rig.dataplane.transmit, PORT, frames, rig.now)
    note_rate(benchmark, FLOW)


def test_seal_side_large(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    """The same as one large frame: cut, encapsulated, sealed."""
    rig = Rig(dataplane_class)
    transmit_large = getattr(rig.dataplane, "transmit_large", None)
    if transmit_large is None:
        pytest.skip("takes no large frames")
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    header = VnetHeader(NEEDS_CSUM, TCPV4, 54, PAYLOAD, 34, 16).pack()
    frame = tcp_frame(2, US, content(FLOW))
    assert len(transmit_large(PORT, header, frame, rig.now).datagrams) == SEGMENTS
    benchmark.extra_info["per_round"] = SEGMENTS
    benchmark(transmit_large, PORT, header, frame, rig.now)
    note_rate(benchmark, FLOW)


def test_open_side(benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass) -> None:
    """Opened, every check, learned, handed out frame by frame."""
    rig = Rig(dataplane_class)
    plaintexts = [carrying(frame) for frame in flow(US, 2)]

    def sealed() -> tuple[list[Datagram], int]:
        return [rig.peer.seal(plaintext) for plaintext in plaintexts], rig.now

    benchmark.extra_info["per_round"] = SEGMENTS
    with_new(benchmark, rig.dataplane.receive, sealed, rounds=200)
    note_rate(benchmark, FLOW)
    assert not rig.drops()

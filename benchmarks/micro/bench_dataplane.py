"""A whole data plane: frames out, datagrams in, and both ends together, burst by burst."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.rounds import with_new
from tests.dataplane.rig import PORT, US, VNI, Rig, carrying, frame_to, mac, tunnel
from tests.vxlan.packets import ipv4, udp
from wgvx.dataplane.interface import Datagram, DataPlane

DataPlaneClass = Callable[[], DataPlane]
SIZES = [64, 1364]
BURST = 32
CASES = [(size, burst) for size in SIZES for burst in (1, BURST)]


def ip_frame(destination: int, source: int, size: int) -> bytes:
    payload = ipv4(udp(bytes(size - 14 - 28)))
    return frame_to(destination, source, payload, ethertype=0x0800)


@pytest.mark.parametrize(("size", "burst"), CASES)
def test_transmit(
    benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass, size: int, burst: int
) -> None:
    """Frame -> FDB -> VXLAN, UDP, IP -> allowed IPs -> sealed."""
    rig = Rig(dataplane_class)
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    frames = [ip_frame(2, US, size)] * burst
    assert len(rig.transmit(*frames).datagrams) == burst
    benchmark.extra_info["per_round"] = burst
    benchmark(rig.dataplane.transmit, PORT, frames, rig.now)


@pytest.mark.parametrize(("size", "burst"), CASES)
def test_receive(
    benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass, size: int, burst: int
) -> None:
    """Datagram -> opened, window, source -> checksums -> learned -> frame."""
    rig = Rig(dataplane_class)
    plaintext = carrying(ip_frame(US, 2, size))

    def sealed() -> tuple[list[Datagram], int]:
        return [rig.peer.seal(plaintext) for _ in range(burst)], rig.now

    benchmark.extra_info["per_round"] = burst
    with_new(benchmark, rig.dataplane.receive, sealed, rounds=3000 // burst)
    assert not rig.drops()


@pytest.mark.parametrize(("size", "burst"), CASES)
def test_end_to_end(
    benchmark: BenchmarkFixture, dataplane_class: DataPlaneClass, size: int, burst: int
) -> None:
    """Out of one data plane and into another: the price of a frame for both ends together."""
    here, there = Rig(dataplane_class, sessions=False), Rig(dataplane_class, sessions=False)
    session, keys = here.peer.new_session(initiator=False, now=here.now)
    here.dataplane.install(
        2, local_index=1, remote_index=2, keys=keys, initiator=True, now=here.now
    )
    there.dataplane.install(
        2, local_index=2, remote_index=1, keys=session.keys, initiator=True, now=there.now
    )
    # To each of them the other is node 2; both call themselves node 1.
    there.dataplane.set_addresses([tunnel(2)])
    there.dataplane.add_allowed_ip(2, (tunnel(1), 32))
    here.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    frames = [ip_frame(2, 5, size)] * burst

    def across() -> int:
        sent = here.dataplane.transmit(PORT, frames, here.now).datagrams
        return len(there.dataplane.receive(sent, there.now).frames)

    assert across() == burst
    benchmark.extra_info["per_round"] = burst
    benchmark(across)
    assert not there.drops()

"""What full tables cost a packet: a million stations, 100,000 prefixes, and random addresses among
them, so that every look-up misses the caches.
"""

from __future__ import annotations

import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.rounds import with_new
from tests.dataplane.rig import PORT, US, VNI, Rig, carrying, frame_to
from tests.support.dataplanes import NATIVE, DataPlaneClass
from wgvx.dataplane.interface import Datagram, Network

BURST = 512
UDP_CHECKSUM = slice(26, 28)
SOURCE_MAC = slice(42, 48)
TEMPLATE = bytearray(carrying(frame_to(US, 2)))
TEMPLATE[UDP_CHECKSUM] = bytes(2)
FEW, MANY_STATIONS, MANY_PREFIXES = 10, 1_000_000, 100_000


@pytest.fixture(params=NATIVE, scope="module")
def native(request: pytest.FixtureRequest) -> DataPlaneClass:
    made: DataPlaneClass = request.param
    return made


def station(number: int) -> bytes:
    return b"\2\1" + number.to_bytes(4, "big")


def from_station(number: int) -> bytes:
    """A tunnel packet from it, without a UDP checksum: a million of them are quick to make."""
    packet = bytearray(TEMPLATE)
    packet[SOURCE_MAC] = station(number)
    return bytes(packet)


def filled(native: DataPlaneClass, stations: int, prefixes: int) -> Rig:
    """Stations behind peer 2, learned from it; prefixes of peer 3, of lengths 24 to 32."""
    rig = Rig(native, peers=2, networks=(Network(VNI, ageing=0, max_entries=0),))
    draw = random.Random(stations)
    for _ in range(prefixes):
        length = draw.randrange(24, 33)
        network = (draw.randrange(1 << length) << 32 - length).to_bytes(4, "big")
        if network[0] != 10:
            rig.dataplane.add_allowed_ip(3, (network, length))
    for start in range(0, stations, BURST):
        rig.receive(*map(from_station, range(start, min(start + BURST, stations))))
    assert rig.dataplane.network_counters(VNI).fdb_entries == stations + 1
    assert not rig.drops()
    return rig


@pytest.mark.parametrize(
    ("stations", "prefixes"), [(FEW, FEW), (MANY_STATIONS, FEW), (FEW, MANY_PREFIXES)]
)
def test_transmit(
    benchmark: BenchmarkFixture, native: DataPlaneClass, stations: int, prefixes: int
) -> None:
    """To stations at random."""
    rig = filled(native, stations, prefixes)
    draw = random.Random(1)
    frames = [frame_to(station(draw.randrange(stations)), US) for _ in range(BURST)]
    assert len(rig.transmit(*frames).datagrams) == BURST
    benchmark.extra_info["per_round"] = BURST
    benchmark(rig.dataplane.transmit, PORT, frames, rig.now)


@pytest.mark.parametrize(
    ("stations", "prefixes"), [(FEW, FEW), (MANY_STATIONS, FEW), (FEW, MANY_PREFIXES)]
)
def test_receive(
    benchmark: BenchmarkFixture, native: DataPlaneClass, stations: int, prefixes: int
) -> None:
    """From stations at random, each of them refreshed."""
    rig = filled(native, stations, prefixes)
    draw = random.Random(2)

    def sealed() -> tuple[list[Datagram], int]:
        rig.now += 1
        numbers = [draw.randrange(stations) for _ in range(BURST)]
        return [rig.peer.seal(from_station(number)) for number in numbers], rig.now

    benchmark.extra_info["per_round"] = BURST
    with_new(benchmark, rig.dataplane.receive, sealed, rounds=40)
    assert not rig.drops()

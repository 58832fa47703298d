"""The parts of the overlay: headers on and off, the forwarding database."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.dataplane.rig import US, VNI, carrying, frame_to, tunnel
from tests.vxlan.packets import ipv4, udp
from wgvx.vxlan import ecn, flow, header, ip
from wgvx.vxlan import udp as inner_udp
from wgvx.vxlan.fdb import Fdb, Remote

SIZES = [64, 1364]
FAMILIES = [4, 6]


def ip_frame(size: int) -> bytes:
    return frame_to(2, US, ipv4(udp(bytes(size - 14 - 28))), ethertype=0x0800)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_encapsulate(benchmark: BenchmarkFixture, size: int, family: int) -> None:
    """VXLAN, UDP with checksum and source port, IP with ECN."""
    frame, head = ip_frame(size), header.pack(VNI)
    source, destination = tunnel(1, family), tunnel(2, family)

    def encapsulate() -> bytes:
        port = flow.source_port(frame)
        segment = inner_udp.build(source, destination, port, 4789, head + frame)
        mark = ecn.encapsulate(flow.frame_ecn(frame))
        return ip.build(source, destination, ip.PROTOCOL_UDP, segment, ecn=mark)

    benchmark(encapsulate)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_decapsulate(benchmark: BenchmarkFixture, size: int, family: int) -> None:
    """The same way back, with every check."""
    packet = carrying(ip_frame(size), family=family)

    def decapsulate() -> bytes:
        parsed = ip.parse(packet)
        _, _, payload = inner_udp.parse(parsed)
        header.parse(payload)
        return ecn.decapsulate(parsed.ecn, payload[header.HEADER_LENGTH :])

    benchmark(decapsulate)


def table(entries: int) -> tuple[Fdb, list[bytes]]:
    fdb = Fdb(learning=True, ageing=0, max_entries=0)
    macs = [b"\2" + number.to_bytes(5, "big") for number in range(entries)]
    for mac in macs:
        fdb.learn(mac, Remote(tunnel(2)), 1)
    return fdb, macs


@pytest.mark.parametrize("entries", [10, 65536])
def test_fdb_lookup(benchmark: BenchmarkFixture, entries: int) -> None:
    fdb, macs = table(entries)
    benchmark(fdb.lookup, macs[entries // 2], 2)


@pytest.mark.parametrize("entries", [10, 65536])
def test_fdb_refresh(benchmark: BenchmarkFixture, entries: int) -> None:
    """What every frame that arrives costs: its source is known, and is put last for ageing."""
    fdb, macs = table(entries)
    where, moments = Remote(tunnel(2)), iter(range(2, 1 << 60))
    benchmark(lambda: fdb.learn(macs[entries // 2], where, next(moments)))


def test_fdb_learn(benchmark: BenchmarkFixture) -> None:
    """A new station each time, up to the default cap and beyond."""
    fdb = Fdb(learning=True, ageing=0, max_entries=65536)
    where, numbers = Remote(tunnel(2)), iter(range(1 << 40))
    benchmark(lambda: fdb.learn(b"\2" + next(numbers).to_bytes(5, "big"), where, 1))

"""The parts of WireGuard: packets sealed and opened, the replay window, cryptokey routing."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.rounds import with_new
from wgvx.wireguard.allowed_ips import AllowedIps
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.noise import TransportKeys
from wgvx.wireguard.replay import ReplayWindow

SIZES = [64, 1420]
BATCH = 256


def ends() -> tuple[Keypair, Keypair]:
    keys = TransportKeys(b"s" * 32, b"r" * 32)
    back = TransportKeys(b"r" * 32, b"s" * 32)
    return Keypair(1, 1, 2, keys, True, 0), Keypair(2, 2, 1, back, False, 0)


@pytest.mark.parametrize("size", SIZES)
def test_seal(benchmark: BenchmarkFixture, size: int) -> None:
    sender, _ = ends()
    benchmark(sender.seal, bytes(size))


@pytest.mark.parametrize("size", SIZES)
def test_open(benchmark: BenchmarkFixture, size: int) -> None:
    """256 messages a round, for none opens twice."""
    sender, receiver = ends()

    def sealed() -> tuple[list[bytes]]:
        return ([sender.seal(bytes(size)) for _ in range(BATCH)],)

    def open_all(messages: list[bytes]) -> None:
        for message in messages:
            receiver.open(message, 0)

    benchmark.extra_info["per_round"] = BATCH
    with_new(benchmark, open_all, sealed, rounds=100)


def test_replay_window(benchmark: BenchmarkFixture) -> None:
    window = ReplayWindow()
    counters = iter(range(1 << 60))
    benchmark(lambda: window.accept(next(counters)))


@pytest.mark.parametrize("prefixes", [10, 100_000])
def test_allowed_ips_lookup(benchmark: BenchmarkFixture, prefixes: int) -> None:
    """One address of 16, hits and misses, among prefixes of 8 lengths."""
    draw = random.Random(2)
    table = AllowedIps()
    for number in range(prefixes):
        length = draw.randrange(25, 33)
        network = draw.randrange(1 << length) << 32 - length
        table.insert((network.to_bytes(4, "big"), length), number % 100)
    addresses = [IPv4Address(draw.randrange(1 << 32)).packed for _ in range(16)]

    def lookup_all() -> None:
        for address in addresses:
            table.lookup(address)

    benchmark.extra_info["per_round"] = len(addresses)
    benchmark(lookup_all)


def test_allowed_ips_fill(benchmark: BenchmarkFixture) -> None:
    """100,000 prefixes into one peer."""

    def fill() -> None:
        table = AllowedIps()
        for number in range(100_000):
            table.insert(((number << 8).to_bytes(4, "big"), 24), 1)

    with_new(benchmark, fill, tuple, rounds=5)

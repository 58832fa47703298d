"""What a scrape costs the event loop: a look at a node of a thousand peers, and each metric of it,
between which packets have their turn. Not oftener than once a second, whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.node.sites import NETWORK, config
from tests.support.dataplanes import DataPlaneClass
from wgvx import keys
from wgvx.control import metrics, status
from wgvx.node import Node
from wgvx.ports.memory_maker import MemoryMaker

PEERS = 1000


def peers() -> Iterator[str]:
    for number in range(PEERS):
        key = keys.encode(keys.public_key(number.to_bytes(16, "big") + b"\1" * 16))
        address = f"10.254.{1 + number // 250}.{1 + number % 250}/32"
        yield (
            f'[[peer]]\nname = "site {number}"\npublic_key = "{key}"\n'
            f'allowed_ips = ["{address}"]\nendpoint = "127.0.0.1:{2000 + number}"\n'
        )


@pytest.fixture
def node(dataplane_class: DataPlaneClass, tmp_path: Path) -> Iterator[Node]:
    configured = config(tmp_path, 1, *peers(), NETWORK)
    made = Node(configured, dataplane_class(), MemoryMaker)
    with asyncio.Runner() as runner:
        runner.run(made.start())
        yield made
        runner.run(made.close())


def test_look(benchmark: BenchmarkFixture, node: Node) -> None:
    shown: dict[str, Any] = benchmark(status.show, node, prefixes=False)
    assert len(shown["peers"]) == PEERS


def test_longest_metric(benchmark: BenchmarkFixture, node: Node) -> None:
    """The public keys: a label more than the others."""
    shown = status.show(node, prefixes=False)
    found = {one.name: one for one in metrics.metrics(shown, cpu_seconds=0, started=0)}
    text: bytes = benchmark(metrics.expose, found["wgvx_peer"])
    assert text.count(b"\n") == PEERS + 2


def test_whole_scrape(benchmark: BenchmarkFixture, node: Node) -> None:
    def scrape() -> int:
        shown = status.show(node, prefixes=False)
        found = metrics.metrics(shown, cpu_seconds=0, started=0)
        return sum(len(metrics.expose(one)) for one in found)

    assert benchmark(scrape) > 100 * PEERS

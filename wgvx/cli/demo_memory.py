"""``wgvx demo`` where no namespace can be had: memory ports, real tunnels over loopback UDP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from wgvx.config import Config
from wgvx.control import status
from wgvx.dataplane.select import make_dataplane
from wgvx.node import Node
from wgvx.ports.memory import MemoryPort
from wgvx.ports.memory_maker import MemoryMaker

ETHERTYPE_EXPERIMENTAL = b"\x88\xb5"
"""IEEE 802 local experimental EtherType 1: no stack answers these frames."""

BATCH = 32
PATIENCE = 5.0


@dataclass(slots=True)
class Outcome:
    """What the demo has to tell."""

    pings: list[float]
    """Milliseconds."""
    frames: int
    bytes: int
    seconds: float
    nodes: list[dict[str, object]]
    tables: list[list[dict[str, object]]]


async def run(configs: tuple[Config, Config], pings: int, seconds: float) -> Outcome:
    """Two nodes in this very process; frames there and back, then as many as go through."""
    makers = [MemoryMaker(), MemoryMaker()]
    nodes = [_node(config, maker) for config, maker in zip(configs, makers, strict=True)]
    try:
        for node in nodes:
            await node.start()
        near, far = (next(iter(maker.ports.values())) for maker in makers)
        times = [await _there_and_back(near, far, number) for number in range(pings)]
        begun = time.perf_counter()
        count = await _stream(near, far, seconds)
        return Outcome(
            [t for t in times if t is not None],
            count,
            count * (near.mtu + 14),
            time.perf_counter() - begun,
            [status.show(node) for node in nodes],
            [list(status.fdb(node, None)) for node in nodes],
        )
    finally:
        for node in nodes:
            await node.close()


def _node(config: Config, maker: MemoryMaker) -> Node:
    return Node(config, make_dataplane(None), lambda: maker)


def _frame(source: MemoryPort, destination: MemoryPort, payload: bytes) -> bytes:
    return destination.mac + source.mac + ETHERTYPE_EXPERIMENTAL + payload.ljust(46, b"\0")


async def _there_and_back(near: MemoryPort, far: MemoryPort, number: int) -> float | None:
    payload = number.to_bytes(4, "big")
    begun = time.perf_counter()
    for source, destination in ((near, far), (far, near)):
        frame = _frame(source, destination, payload)
        source.inject(frame)
        while frame not in destination.take():
            await asyncio.sleep(0)
            if time.perf_counter() - begun > PATIENCE:
                return None
    return (time.perf_counter() - begun) * 1000


async def _stream(near: MemoryPort, far: MemoryPort, seconds: float) -> int:
    frame = _frame(near, far, bytes(near.mtu))
    arrived = 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(BATCH):
            near.inject(frame)
        before = arrived
        while arrived - before < BATCH and time.perf_counter() < until:
            await asyncio.sleep(0)
            arrived += far.take().count(frame)
    return arrived

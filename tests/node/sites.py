"""Nodes with memory ports, inside a test's own event loop, over real UDP on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from tests.config.files import write
from wgvx import keys
from wgvx.config import Config, load
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.drops import Reason
from wgvx.engine import PeerInfo
from wgvx.node import Node
from wgvx.ports.maker import PortMaker
from wgvx.ports.memory import MemoryPort
from wgvx.ports.memory_maker import MemoryMaker
from wgvx.pump import clock
from wgvx.wireguard.sessions import Endpoint

VNI = 4200
NETWORK = f'[[network]]\nvni = {VNI}\ntap = "m0"\n'
ETHERTYPE = b"\x88\xb5"
"""IEEE 802 local experimental: nothing looks into such a frame."""

PATIENCE = 10.0


def private(number: int) -> bytes:
    """The private key of node ``number``, always the same."""
    return bytes([number]) * 32


def public(number: int) -> bytes:
    """The public key of node ``number``."""
    return keys.public_key(private(number))


def peer(number: int, *lines: str) -> str:
    """A [[peer]]: node ``number`` with its tunnel addresses of both families."""
    return "\n".join(
        (
            "[[peer]]",
            f'public_key = "{keys.encode(public(number))}"',
            f'allowed_ips = ["10.254.0.{number}/32", "fd00::{number}/128"]',
            *lines,
            "",
        )
    )


def config(
    folder: Path, number: int = 1, *tables: str, lines: Iterable[str] = (), name: str | None = None
) -> Config:
    """Node ``number``, which takes any free port; ``lines`` go to [node]."""
    head = (
        "[node]",
        f'private_key = "{keys.encode(private(number))}"',
        "listen_port = 0",
        f'address = ["10.254.0.{number}/24", "fd00::{number}/64"]',
        f'state_dir = "{folder / "state"}"',
        *lines,
        "",
    )
    return load(write(folder, "\n".join((*head, *tables)), f"{name or f'n{number}'}.toml"))


def make_node(configured: Config, maker: PortMaker | None = None) -> Node:
    """Not started."""
    ports = MemoryMaker() if maker is None else maker
    return Node(configured, ReferenceDataPlane(), lambda: ports)


@asynccontextmanager
async def running(configured: Config, maker: PortMaker | None = None) -> AsyncIterator[Node]:
    """A node from its start to its end."""
    node = make_node(configured, maker)
    try:
        await node.start()
        yield node
    finally:
        await node.close()


@asynccontextmanager
async def joined(folder: Path, host: str = "127.0.0.1") -> AsyncIterator[tuple[Node, Node]]:
    """Nodes 1 and 2, of which the first one knows that the other is at ``host``."""
    async with (
        running(config(folder, 1, peer(2), NETWORK)) as near,
        running(config(folder, 2, peer(1), NETWORK)) as far,
    ):
        point(near, 2, host, far.listen_port)
        yield near, far


def port_of(node: Node, name: str = "m0") -> MemoryPort:
    """The far side of a node's port."""
    port = next(
        port
        for (_, attach, number) in node.attachments
        if attach.name == name
        for port in [node.dataplane._ports[number]]
    )
    assert isinstance(port, MemoryPort)
    return port


def peer_of(node: Node, number: int) -> PeerInfo:
    """What a node knows of node ``number``."""
    return node.engine.peers[public(number)]


def point(node: Node, number: int, host: str, port: int) -> None:
    """Tell a node where node ``number`` is."""
    endpoint = Endpoint(ip_address(host).packed, port)
    node.engine.set_endpoint(peer_of(node, number), endpoint, clock())
    node.settle()


def frame(source: MemoryPort, destination: MemoryPort, payload: bytes) -> bytes:
    """An Ethernet frame from the station at one port to that at the other."""
    return destination.mac + source.mac + ETHERTYPE + payload.ljust(46, b"\0")


async def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Let the loop run until something is so."""
    deadline = asyncio.get_running_loop().time() + patience
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came to be"
        await asyncio.sleep(0.002)


async def deliver(source: MemoryPort, destination: MemoryPort, payload: bytes) -> None:
    """A frame goes in at one port and comes out unchanged at the other."""
    sent = frame(source, destination, payload)
    assert source.inject(sent)
    seen: list[bytes] = []

    def arrived() -> bool:
        seen.extend(destination.take())
        return sent in seen

    await until(arrived)


def dropped(node: Node) -> dict[Reason, int]:
    """The drop counters that are not 0."""
    return {reason: count for reason, count in node.dataplane.drops().items() if count}

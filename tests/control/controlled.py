"""Nodes that answer at their control socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.node.sites import NETWORK, config, running
from wgvx.control.client import ask, find
from wgvx.control.paths import NodeLock
from wgvx.control.server import ControlServer
from wgvx.node import Node
from wgvx.reload.reloader import Reloader

MAC = "02:00:00:00:00:02"
ZERO = "00:00:00:00:00:00"
TWO = NETWORK + '[[network]]\nvni = 4201\ntap = "m1"\n'


@asynccontextmanager
async def controlled(folder: Path, *tables: str, number: int = 1) -> AsyncIterator[Node]:
    """A node that answers at its control socket."""
    async with running(config(folder, number, *tables)) as node:
        lock = NodeLock(node.config.name)
        control = ControlServer(node, lock, Reloader(node))
        try:
            await control.start()
            yield node
        finally:
            await control.close()
            await asyncio.sleep(0.01)  # Let the connections see their end.
            lock.release()


async def asked(command: str, name: str = "n1", **arguments: Any) -> Any:
    """As a command asks."""
    return await asyncio.to_thread(lambda: ask(find(name), command, **arguments))

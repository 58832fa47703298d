"""A stack, and the kernel's own on a TAP in a namespace as all that it can reach."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_interface
from typing import Any

from tests.netns.lab import Completed, Lab, Namespace
from wgvx.config import EndpointName, Forward, StackAttach
from wgvx.ports import tun
from wgvx.ports.stack import StackPort

MAC = bytes.fromhex("020000000009")
OURS = {4: "10.0.0.9", 6: "fd00:a::9"}
FAR = {4: "10.0.0.2", 6: "fd00:a::2"}
NOBODY = {4: "10.0.0.77", 6: "fd00:a::77"}
MTU = 1350
PATIENCE = 20.0


def attach(**more: Any) -> StackAttach:
    """An attachment with what a test wants."""
    values: dict[str, Any] = {
        "name": "apps",
        "mac": MAC,
        "addresses": (ip_interface(f"{OURS[4]}/24"), ip_interface(f"{OURS[6]}/64")),
        "gateways": (),
        "dns": (),
        "socks5": None,
        "http": None,
        "forward": (),
        "reverse": (),
    }
    return StackAttach(**(values | more))


def free_port() -> int:
    """A TCP port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def loopback() -> EndpointName:
    return EndpointName("127.0.0.1", free_port())


def forward_to(port: int, family: int = 4, host: str | None = None) -> Forward:
    """As `-L` to that port of the far end."""
    return Forward(loopback(), EndpointName(host or FAR[family], port))


class Rig:
    """The far end ``far``, and the stack's port."""

    def __init__(self, far: Namespace, tap: int, port: StackPort) -> None:
        self.far, self.port = far, port
        self.frames: list[bytes] = []
        """What the stack has sent."""
        self._tap = tap
        self._passes: Callable[[], bool] = lambda: True

    def cut(self) -> None:
        """No frame passes from now on."""
        self._passes = lambda: False

    def lose(self, share: float, seed: int) -> None:
        """So many of the frames are lost from now on, both ways."""
        chance = random.Random(seed)
        self._passes = lambda: chance.random() >= share

    def from_stack(self) -> None:
        while (frame := self.port.read()) is not None:
            self.frames.append(frame)
            if self._passes():
                os.write(self._tap, frame)

    def to_stack(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = os.read(self._tap, 2048)
                if self._passes():
                    self.port.write(frame)

    async def run(self, *command: str, inside: bool = True) -> Completed:
        """A command on the far end, or on ours, while the loop goes on."""
        place = self.far if inside else None
        words = place.wrap(*command) if place else list(command)
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Completed(words, process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def server(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        family: int = 4,
        port: int = 0,
        *,
        inside: bool = True,
    ) -> AsyncIterator[int]:
        """A TCP server on the far end, or on the host; its port."""
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        sock = self.far.socket(kind, socket.SOCK_STREAM) if inside else socket.socket(kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((FAR[family] if inside else "127.0.0.1", port))
        server = await asyncio.start_server(serve, sock=sock)
        try:
            yield sock.getsockname()[1]
        finally:
            server.close()
            await server.wait_closed()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """No connection is left in the stack."""
        stack = self.port._stack
        await self.until(lambda: stack is None or stack.connections == 0)


@asynccontextmanager
async def rig(lab: Lab, config: StackAttach, mtu: int = MTU) -> AsyncIterator[Rig]:
    """An open port with the far end on its other side."""
    far = lab.host("far")
    with far.entered():
        tap = tun.open_node()
        tun.attach(tap, "blue0", tun.IFF_TAP | tun.IFF_NO_PI)
    far.ip("link", "set", "blue0", "mtu", str(mtu), "up")
    far.ip("address", "add", f"{FAR[4]}/24", "dev", "blue0")
    far.ip("address", "add", f"{FAR[6]}/64", "dev", "blue0", "nodad")
    loop = asyncio.get_running_loop()
    port = StackPort(config, mtu)
    made = Rig(far, tap, port)
    try:
        port.open(lambda: None)
        descriptor = port.fileno()
        loop.add_reader(descriptor, made.from_stack)
        loop.add_reader(tap, made.to_stack)
        try:
            yield made
        finally:
            loop.remove_reader(descriptor)
            loop.remove_reader(tap)
    finally:
        port.close()
        os.close(tap)
        await asyncio.sleep(0)  # Cancelled tasks end.


def run(lab: Lab, test: Callable[[Rig], Awaitable[None]], **config: Any) -> None:
    """Run a test with a rig of its own."""

    async def whole() -> None:
        async with rig(lab, attach(**config)) as made:
            await test(made)

    asyncio.run(whole())


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def address(text: str) -> Any:
    return ip_address(text)

"""Makes memory ports where a node would have TAPs: for tests, and where no TAP can be had."""

from __future__ import annotations

from typing import ClassVar

from wgvx.ports.memory import MemoryPort
from wgvx.ports.request import TapRequest


class MemoryMaker:
    """A PortMaker without devices; the far sides are in ``ports``, by name."""

    descriptors: ClassVar[bool] = False

    def __init__(self) -> None:
        self.ports: dict[str, MemoryPort] = {}

    def tap(self, request: TapRequest) -> MemoryPort:
        """A memory port of that name, MAC and MTU."""
        port = MemoryPort(request.name, request.mac, request.mtu)
        self.ports[request.name] = port
        return port

    def ready(self) -> None:
        """Nothing is pending."""

    def namespace(self, netns: str | None) -> None:
        """There is none."""

    def close(self) -> None:
        """Close every port."""
        for port in self.ports.values():
            port.close()

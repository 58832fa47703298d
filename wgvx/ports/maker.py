"""What the node asks of whoever makes its ports."""

from __future__ import annotations

from typing import Protocol

from wgvx.dataplane.interface import FramePort
from wgvx.ports.request import TapRequest


class Port(FramePort, Protocol):
    """A port that an event loop can wait for."""

    def fileno(self) -> int:
        """Readable when a frame waits or the device is gone."""


class PortMaker(Protocol):
    """See :class:`wgvx.ports.provision.Provisioner`."""

    @property
    def descriptors(self) -> bool:
        """Whether its ports are TAPs, which a data plane can read by itself."""

    def tap(self, request: TapRequest) -> Port:
        """The port for one attachment. Raises PortError."""

    def ready(self) -> None:
        """All ports are made."""

    def namespace(self, netns: str | None) -> tuple[int, int] | None:
        """Descriptors of the rootless user and network namespace, None where there is none."""

    def close(self) -> None:
        """Unmake everything."""

"""What the node asks of whoever makes its ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from wgvx.dataplane.interface import FramePort, Framing
from wgvx.ports.request import TapRequest


class Port(FramePort, Protocol):
    """A port that an event loop can wait for."""

    @property
    def name(self) -> str:
        """As configured."""

    @property
    def mac(self) -> bytes | None:
        """Its device's own address; None where it has none, or it is not ours to know."""

    @property
    def framing(self) -> Framing:
        """How frames stand in its descriptors."""

    @property
    def fds(self) -> tuple[int, ...]:
        """One for each queue; none while nobody is connected."""

    def fileno(self) -> int:
        """Readable when a frame waits or the device is gone; -1 while there is none."""

    def open(self, changed: Callable[[], None]) -> None:
        """Begin. ``changed`` is to be called whenever ``fds`` has changed, and before a descriptor
        that was in it is closed. Raises PortError."""

    def close(self) -> None:
        """Let go of it. Idempotent."""

    def lost(self, code: int) -> None:
        """Whoever reads the descriptors found them to be of no use. Raises PortGone where that is
        for good."""


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

"""What the features of a quiet network have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import Watch


class Bridge(Protocol):
    """The data plane, as far as a feature works with it."""

    def forward_frame(
        self, vni: int, origin: Local | Remote, frame: bytes, now: int, to: Forwarding | None = None
    ) -> bool:
        """A watched frame goes on as if it had not been watched; ``to``: where everywhere is.
        False: it was dropped, by a storm limit for instance.
        """

    def send_frame(self, vni: int, to: Forwarding, frame: bytes, now: int) -> None:
        """A frame goes to these places alone, blocked ports among them."""

    def set_group(self, vni: int, mac: bytes, members: Forwarding | None) -> None:
        """Where frames to a group go, or to a family's others (its zero group); with None
        everywhere.
        """

    def fdb_flood(self, vni: int) -> tuple[bytes, ...]:
        """The VTEPs of the flood list."""

    def set_blocked(self, port: int, blocked: bool) -> None:
        """Let nothing in from a port, nor out to it, but loop probes; or again."""

    def forget_port(self, port: int) -> None:
        """Forget the stations that were learned on a port."""

    def fdb_flush(self, vni: int, vtep: bytes | None = None) -> int:
        """Forget those learned from a VTEP, or all of them; returns how many."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a feature is made with."""

    vni: int
    bridge: Bridge
    ports: Mapping[int, bytes | None]
    """The network's ports, with the MAC of each one's own device; more may come."""
    ageing: Callable[[], int]
    """Nanoseconds, as the network's table has it."""
    identity: bytes
    """Eight bytes, this node's alone."""
    random: Callable[[int], bytes]
    """So many random bytes."""
    port_name: Callable[[int], str]
    """What people call a port."""
    say: Callable[[str], None]
    """Tell people: a line for the log."""


class Feature(ABC):
    """One of a network's: made when it is switched on, closed when it is switched off."""

    name: ClassVar[str]
    """As its key in the network's table."""
    kinds: ClassVar[Watch]
    """The frames that it wants to see."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    @abstractmethod
    def handle(self, origin: Local | Remote, frame: bytes, now: int) -> bool:
        """A frame of those kinds; whatever it holds, nothing is raised. True: it has been dealt
        with. False: it goes on.
        """

    def next_deadline(self) -> int | None:
        """When :meth:`expire` is next worth calling, in nanoseconds; None for never."""
        return None

    def expire(self, now: int) -> None:  # noqa: B027 - most have no timers
        """Act on what is due."""

    def close(self, now: int) -> None:  # noqa: B027
        """Undo what was set in the data plane."""

    @abstractmethod
    def show(self, now: int) -> dict[str, Any]:
        """What `wgvx show --json` says of it: numbers, names and short lists."""

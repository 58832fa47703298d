"""Copies of what passes a data plane, for those who look: what they are, and how many are kept."""

from __future__ import annotations

from enum import Enum, Flag
from typing import NamedTuple

from wgvx.wireguard.sessions import Endpoint

CAPTURE_ROOM = 2 << 20
"""Bytes of copies, and of what is said of each, that a thread keeps between two looks."""
OVERHEAD = 80
"""Bytes that a copy takes besides its own."""


class Capture(Flag):
    """What is copied."""

    FRAMES = 1
    DATAGRAMS = 2


NO_CAPTURE = Capture(0)


class Passed(Enum):
    """What something was, and which way it went."""

    FRAME_IN = 0
    """It entered at a port."""
    FRAME_OUT = 1
    """It was delivered on a port."""
    DATAGRAM_IN = 2
    """It came from the underlay."""
    DATAGRAM_OUT = 3

    @property
    def is_frame(self) -> bool:
        """Whether a port says where, or an endpoint."""
        return self in (Passed.FRAME_IN, Passed.FRAME_OUT)


class Captured(NamedTuple):
    """One copy. ``at`` is monotonic nanoseconds, ``data`` the beginning of its ``length`` bytes.

    A frame that a TAP handed over large and unfinished is copied so, as tcpdump has it.
    """

    at: int
    what: Passed
    length: int
    data: bytes
    port: int = 0
    endpoint: Endpoint | None = None
    tos: int = 0


class CaptureBuffer:
    """What a data plane in Python keeps. ``now`` is the time of the call under way."""

    def __init__(self) -> None:
        self.now = 0
        self._kinds = NO_CAPTURE
        self._snaplen = 0
        self._kept: list[Captured] = []
        self._room = CAPTURE_ROOM
        self._lost = 0

    def set(self, kinds: Capture, snaplen: int) -> None:
        """Keep these from now on."""
        self._kinds, self._snaplen = kinds, snaplen
        if not kinds:
            self.take()

    def frame(self, what: Passed, port: int, frame: bytes) -> None:
        """A frame passes a port."""
        if self._kinds & Capture.FRAMES:
            self._add(Captured(self.now, what, len(frame), frame[: self._snaplen], port))

    def datagram(self, what: Passed, data: bytes, endpoint: Endpoint, tos: int) -> None:
        """A datagram passes."""
        if self._kinds & Capture.DATAGRAMS:
            cut = data[: self._snaplen]
            self._add(Captured(self.now, what, len(data), cut, 0, endpoint, tos))

    def _add(self, captured: Captured) -> None:
        needed = OVERHEAD + len(captured.data)
        if needed > self._room:
            self._lost += 1
            return
        self._room -= needed
        self._kept.append(captured)

    def take(self) -> tuple[list[Captured], int]:
        """What was kept since the last call, and how many there was no room for."""
        taken = self._kept, self._lost
        self._kept, self._lost, self._room = [], 0, CAPTURE_ROOM
        return taken

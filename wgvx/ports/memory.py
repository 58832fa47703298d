"""A port without a device: frames wait in two queues, for tests and where no TAP can be had."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from wgvx.dataplane.interface import Framing
from wgvx.ports.errors import PortGone

# As many as a TAP queues by default (txqueuelen).
QUEUE_FRAMES = 1000


class MemoryPort:
    """The interface of :class:`wgvx.ports.tap.TapPort`; the far side calls `inject` and `take`.

    `fileno` is an eventfd, readable while an injected frame waits or after `vanish`.
    """

    type: ClassVar[str] = "memory"
    framing: ClassVar[Framing] = Framing.BARE

    def __init__(self, name: str, mac: bytes, mtu: int, capacity: int = QUEUE_FRAMES) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.capacity = capacity
        self._to_node: deque[bytes] = deque()
        self._to_far_side: deque[bytes] = deque()
        self._gone = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def fds(self) -> tuple[int, ...]:
        return (self._fd,) if self._fd >= 0 else ()

    def fileno(self) -> int:
        return self._fd

    def open(self, changed: Callable[[], None]) -> None:
        """It is there from the start to the end."""

    def lost(self, code: int) -> None:
        """Nobody but `read` and `write` finds out."""
        raise PortGone(f"port {self.name} is gone: {os.strerror(code)}")

    def read(self) -> bytes | None:
        """The next frame injected by the far side, or None where none waits."""
        self._check()
        if not self._to_node:
            return None
        frame = self._to_node.popleft()
        if not self._to_node:
            os.eventfd_read(self._fd)
        return frame

    def write(self, frame: bytes) -> bool:
        """Queue one frame for the far side. False: the queue is full."""
        self._check()
        if len(self._to_far_side) >= self.capacity:
            return False
        self._to_far_side.append(frame)
        return True

    def close(self) -> None:
        """Release the descriptor; frames already written can still be taken. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def inject(self, frame: bytes) -> bool:
        """Far side: send one frame into the node. False: the queue is full."""
        self._check()
        if len(self._to_node) >= self.capacity:
            return False
        self._to_node.append(frame)
        if len(self._to_node) == 1:
            os.eventfd_write(self._fd, 1)
        return True

    def take(self) -> list[bytes]:
        """Far side: all frames that the node wrote since the last call, oldest first."""
        frames = list(self._to_far_side)
        self._to_far_side.clear()
        return frames

    def vanish(self) -> None:
        """Far side: from now on the node sees a device that is gone."""
        self._check()
        self._gone = True
        os.eventfd_write(self._fd, 1)

    def _check(self) -> None:
        if self._gone or self._fd < 0:
            raise PortGone(f"port {self.name} is gone")

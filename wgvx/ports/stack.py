"""The userspace stack as a port: no TAP, no namespace, no privilege. The node has one end of a pair
of sockets, the stack the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import select
import socket
from collections.abc import Callable
from typing import ClassVar, Final

from wgvx.config import StackAttach
from wgvx.dataplane.interface import Framing
from wgvx.ports.errors import PortError
from wgvx.ports.outside import HERE, Outside
from wgvx.stack.glue import MAX_CONNECTIONS, Stack, StackMissing
from wgvx.stack.ways import Way, WayBlocked, open_ways

log = logging.getLogger(__name__)

BUFFER: Final = 1024 * 1024
"""Bytes of a socket's own buffers, where the system allows as many."""

SPARE_DESCRIPTORS: Final = 256
"""That are no connection's: the node's own, and of clients whose connection is not made yet."""

GOODBYE: Final = 0.5
"""Seconds that resets of connections have to leave at the end."""

RESETS: Final = 64
"""Connections reset before their frames have to have left."""


class StackPort:
    """One stack with all its proxies and forwards. ``mtu`` is the overlay's, ``outside``
    looks names up that are the host's."""

    type: ClassVar[str] = "stack"
    framing: ClassVar[Framing] = Framing.BARE

    def __init__(self, attach: StackAttach, mtu: int, outside: Outside = HERE) -> None:
        self._outside = outside
        self.name = attach.name
        self.mac = attach.mac
        self.fds: tuple[int, ...] = ()
        self._attach, self._mtu = attach, mtu
        self._changed: Callable[[], None] = lambda: None
        self._ends: tuple[socket.socket, ...] = ()
        self._stack: Stack | None = None
        self._ways: list[Way] = []

    def fileno(self) -> int:
        return self.fds[0] if self.fds else -1

    def open(self, changed: Callable[[], None]) -> None:
        """Begin to serve. Raises PortError."""
        self._changed = changed
        ours, theirs = self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in self._ends:
            end.setblocking(False)
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        attach = self._attach
        try:
            self._stack = Stack(
                theirs.fileno(),
                mac=attach.mac,
                mtu=self._mtu,
                addresses=attach.addresses,
                gateways=attach.gateways,
                connections=_room(),
                failed=self._failed,
            )
            self._ways = open_ways(self._stack, attach, self._outside.look_up)
        except (StackMissing, WayBlocked) as error:
            self.close()
            raise PortError(f"stack {self.name}: {error}") from error
        self.fds = (ours.fileno(),)
        self._changed()
        for key, where in (("SOCKS5", attach.socks5), ("HTTP CONNECT", attach.http)):
            if where is not None:
                log.info("stack %s: %s at %s", self.name, key, where)
        for forward in attach.forward:
            place = f"{forward.listen.host or 'every address'}, port {forward.listen.port}"
            log.info("stack %s: %s, leads to %s", self.name, place, forward.target)
        for forward in attach.reverse:
            place = f"port {forward.listen.port} of the overlay"
            log.info("stack %s: %s, leads to %s here", self.name, place, forward.target)

    async def goodbye(self) -> None:
        """Reset all connections while frames still pass, so that the other ends know."""
        self._close_ways()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                while self._stack is not None and self._stack.connections:
                    self._stack.reset(RESETS)
                    while self._frames_wait():
                        await asyncio.sleep(0.001)

    def _frames_wait(self) -> bool:
        """Whether frames wait for the node."""
        if not self._ends:
            return False
        poll = select.poll()
        poll.register(self._ends[0], select.POLLIN)
        return bool(poll.poll(0))

    def counters(self) -> dict[str, int]:
        """See :meth:`wgvx.stack.glue.Stack.counters`; and how many connections there are."""
        if self._stack is None:
            return {}
        return {"connections": self._stack.connections} | self._stack.counters()

    def _close_ways(self) -> None:
        for way in self._ways:
            way.close()
        self._ways = []

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        self._close_ways()
        if self._stack is not None:
            self._stack.close()
            self._stack = None
        if self.fds:
            self.fds = ()
            self._changed()
        for end in self._ends:
            end.close()
        self._ends = ()

    def lost(self, code: int) -> None:
        """The descriptors are ours: this is how a stack that failed ends."""

    def _failed(self, reason: str) -> None:
        log.error("stack %s has ended, lwIP found itself where it cannot be: %s", self.name, reason)
        self.close()

    # --- for an event loop -------------------------------------------------------------------

    def read(self) -> bytes | None:
        """The next frame, None where none waits."""
        if not self._ends:
            return None
        try:
            return self._ends[0].recv(self._mtu + 18)
        except OSError:
            return None

    def write(self, frame: bytes) -> bool:
        """Send a frame; False where it was not taken."""
        if not self._ends:
            return False
        try:
            self._ends[0].send(frame)
        except OSError:
            return False
        return True


def _room() -> int:
    """How many connections there may be: each has a descriptor, of which the system allows so many.
    It is asked for more where it gives more.
    """
    wanted = MAX_CONNECTIONS + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, min(MAX_CONNECTIONS, soft - SPARE_DESCRIPTORS))

"""Sockets of VMs as ports: QEMU's `-netdev stream` and `-netdev dgram`, with no TAP and no
privilege. A VM may come and go; the port, and what the FDB knows of it, stays.

Where the data plane has workers, they read and write the descriptors themselves; `read` and `write`
are for an event loop that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

from wgvx.accepting import Acceptor
from wgvx.config import DgramAttach, SocketAddress, StreamAttach
from wgvx.dataplane.interface import Framing
from wgvx.ports.errors import PortError
from wgvx.ports.outside import HERE, Outside, bound, connected_dgram, place_of

log = logging.getLogger(__name__)

RETRY: Final = 1.0
"""Seconds before a VM that is not there is looked for again."""

MAX_FRAME: Final = 65535 + 14 + 8
"""As on a TAP: whoever announces more does not speak this protocol."""

WAITING: Final = 256 * 1024
"""Bytes that may wait for a VM that does not read."""

BUFFER: Final = 1024 * 1024
"""Bytes of a socket's own buffers, where the system allows as many."""

LINES: Final = 10
LINES_SECONDS: Final = 60.0
"""A VM that comes and goes all the time is logged so often in so many seconds, and then no more."""

IN_USE: Final = "another process has this socket"

_LENGTH: Final = struct.Struct("!I")


class VmPort(ABC):
    """What both kinds have in common. ``changed`` is called when ``fds`` has changed, and before a
    descriptor that was in it is closed. ``place`` is where the VM is, for those who read of it.
    """

    type: ClassVar[str]
    framing: ClassVar[Framing]
    mac: ClassVar[None] = None

    def __init__(self, name: str, place: SocketAddress, outside: Outside = HERE) -> None:
        self.name = name
        self._place = place
        self._outside = outside
        self.fds: tuple[int, ...] = ()
        self._changed: Callable[[], None] = lambda: None
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._missed = False
        """That it is not there was said already."""
        self._lines: deque[float] = deque(maxlen=LINES)

    def fileno(self) -> int:
        return self.fds[0] if self.fds else -1

    @abstractmethod
    def read(self) -> bytes | None:
        """The next frame, None while none is there."""

    @abstractmethod
    def write(self, frame: bytes) -> bool:
        """Send a frame; False where it is not taken."""

    @abstractmethod
    def open(self, changed: Callable[[], None]) -> None:
        """Begin to wait for the VM. Raises PortError."""

    @property
    def _arrival(self) -> str:
        """What is said of it now that there is a socket."""
        return "is here"

    @abstractmethod
    async def _connected(self) -> socket.socket:
        """The VM's socket, where it is for us to look for. Raises OSError while it is not there."""

    def lost(self, code: int) -> None:
        """The VM is gone, as an errno told."""
        if self._socket is None:
            return
        self._say(f"VM {self.name} is gone: {os.strerror(code)}")
        self._missed = True
        self._take(None)
        self._again()

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._changed = lambda: None
        self._take(None)

    def _again(self) -> None:
        """Look for the VM until it is there."""
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            try:
                self._take(_prepared(await self._connected()))
            except OSError as error:
                log.log(
                    logging.DEBUG if self._missed else logging.INFO,
                    "VM %s is not at %s yet: %s; trying on",
                    *(self.name, self._place, error.strerror or error),
                )
                self._missed = True
                await asyncio.sleep(RETRY)
            else:
                return

    def _take(self, connected: socket.socket | None) -> None:
        """This is the VM from now on."""
        before, self._socket = self._socket, connected
        self.fds = ()
        if before is not None:
            self._changed()
            before.close()
        if connected is not None:
            self.fds = (connected.fileno(),)
            self._say(f"VM {self.name} {self._arrival}")
            self._missed = False
            self._changed()

    def _say(self, line: str, level: int = logging.INFO) -> None:
        now = time.monotonic()
        often = len(self._lines) == LINES and now - self._lines[0] < LINES_SECONDS
        if not often:
            self._lines.append(now)
        log.log(logging.DEBUG if often else level, "%s", line)

    def _soon_lost(self, code: int) -> None:
        """From within a call of the data plane, which has to end first."""
        gone = self._socket

        def lose() -> None:
            if self._socket is gone:
                self.lost(code)

        asyncio.get_running_loop().call_soon(lose)


class StreamPort(VmPort):
    """One VM at a time; of several that connect the last one counts, for the one before may be
    dead without our being told."""

    type = "stream"
    framing = Framing.STREAM

    def __init__(self, attach: StreamAttach, outside: Outside = HERE) -> None:
        super().__init__(attach.name, attach.address, outside)
        self._address = attach.address
        self._listens = attach.listen
        self._acceptor: Acceptor | None = None
        self._in = b""
        self._out = bytearray()

    def open(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        if self._listens:
            with _named(self.name, "listen", self._address):
                listener = _listen(self._address)
            self._acceptor = Acceptor(listener, self._accepted)
        else:
            self._again()

    def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            if isinstance(self._address, Path):
                self._outside.remove(self._address)
        super().close()

    def _accepted(self, connected: socket.socket) -> None:
        if self._socket is not None:
            self._say(
                f"VM {self.name}: another connection to {self._address} takes the place of the one"
                " before",
                logging.WARNING,
            )
        self._take(_prepared(connected))

    def _again(self) -> None:
        if not self._listens:  # Or it comes by itself.
            super()._again()

    async def _connected(self) -> socket.socket:
        if isinstance(self._address, Path):
            return self._outside.connect_stream(self._address)
        family, target = (await self._outside.look_up(self._address, passive=True))[0]
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await asyncio.get_running_loop().sock_connect(sock, target)
        except BaseException:
            sock.close()
            raise
        return sock

    def _take(self, connected: socket.socket | None) -> None:
        if self._socket is not None and self._out:
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
        self._in = b""
        self._out.clear()
        super()._take(connected)

    # --- for an event loop -------------------------------------------------------------------

    def read(self) -> bytes | None:
        """The next frame, None while it is not there as a whole."""
        # No more than this frame is taken from the socket, so that it stays readable for the next.
        while self._socket is not None:
            wanted = _LENGTH.size
            if len(self._in) >= wanted:
                wanted += _LENGTH.unpack_from(self._in)[0]
                if wanted > _LENGTH.size + MAX_FRAME:
                    self._soon_lost(errno.EPROTO)
                    return None
                if len(self._in) == wanted:
                    frame, self._in = self._in[_LENGTH.size :], b""
                    return frame
            try:
                data = self._socket.recv(wanted - len(self._in))
            except BlockingIOError:
                return None
            except OSError as error:
                self._soon_lost(error.errno or errno.EIO)
                return None
            if not data:
                self._soon_lost(errno.ECONNRESET)
                return None
            self._in += data
        return None

    def write(self, frame: bytes) -> bool:
        """Send a frame, or the rest of it later; False where too much waits already."""
        if self._socket is None or len(self._out) > WAITING:
            return False
        waited = bool(self._out)
        self._out += _LENGTH.pack(len(frame)) + frame
        if not waited:
            self._push()
        return True

    def _push(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._soon_lost(error.errno or errno.EIO)
            return
        if self._out:
            loop.add_writer(self._socket.fileno(), self._push)
        else:
            loop.remove_writer(self._socket.fileno())


class DgramPort(VmPort):
    """The VM's socket has a name of its own, to which we connect once it is there."""

    type = "dgram"
    framing = Framing.BARE

    def __init__(self, attach: DgramAttach, outside: Outside = HERE) -> None:
        super().__init__(attach.name, attach.remote, outside)
        self._local, self._remote = attach.local, attach.remote
        self._pause: asyncio.TimerHandle | None = None

    def open(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        with _named(self.name, "local", self._local):
            if isinstance(self._local, Path) and _answers(self._local, socket.SOCK_DGRAM):
                raise OSError(errno.EADDRINUSE, IN_USE)
            bound(place_of(self._local)).close()  # What cannot be had is told at once.
        self._again()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        super().close()
        if isinstance(self._local, Path):
            self._outside.remove(self._local)

    @property
    def _arrival(self) -> str:
        if isinstance(self._remote, Path):
            return super()._arrival
        return f"is sent to at {self._remote}, there or not: UDP does not tell"

    async def _connected(self) -> socket.socket:
        if isinstance(self._local, Path):
            assert isinstance(self._remote, Path)
            return self._outside.connect_dgram(self._local, self._remote)
        assert not isinstance(self._remote, Path)
        names = self._local, self._remote
        places = [(await self._outside.look_up(name, passive=True))[0] for name in names]
        return connected_dgram(places[0], places[1])

    def lost(self, code: int) -> None:
        if code == errno.ECONNREFUSED and not isinstance(self._local, Path):
            # Nobody receives there now; somebody may again, at the same address.
            if self._pause is None:
                self._pause = asyncio.get_running_loop().call_later(RETRY, self._listen_again)
            return
        super().lost(code)

    def _listen_again(self) -> None:
        self._pause = None
        self._changed()

    # --- for an event loop -------------------------------------------------------------------

    def read(self) -> bytes | None:
        """The next frame, None where none waits."""
        if self._socket is None:
            return None
        try:
            return self._socket.recv(MAX_FRAME)
        except BlockingIOError:
            return None
        except OSError as error:
            self._soon_lost(error.errno or errno.EIO)
            return None

    def write(self, frame: bytes) -> bool:
        """Send a frame; False where it was not taken."""
        if self._socket is None:
            return False
        try:
            self._socket.send(frame)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.ENOMEM):
                self._soon_lost(error.errno or errno.EIO)
            return False
        return True


# --- sockets -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _named(name: str, key: str, address: SocketAddress) -> Iterator[None]:
    """What goes wrong is a PortError that says where."""
    try:
        yield
    except OSError as error:
        raise PortError(f"VM {name}, {key}: {address}: {error.strerror or error}") from error


def _listen(address: SocketAddress) -> socket.socket:
    """A socket that VMs connect to. Raises OSError."""
    if isinstance(address, Path) and _answers(address, socket.SOCK_STREAM):
        raise OSError(errno.EADDRINUSE, IN_USE)
    sock = bound(place_of(address), socket.SOCK_STREAM)
    try:
        sock.listen(4)
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: Path, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.settimeout(RETRY)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _prepared(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    if sock.family != socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock

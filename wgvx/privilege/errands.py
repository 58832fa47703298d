"""What a node wants of the system once it runs, beyond its packets: done by itself, or, where the
node has confined itself, by the helper process (:mod:`wgvx.privilege.helper`)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import pickle
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from wgvx.config import Config, ConfigError, EndpointName, load
from wgvx.hosts import Place
from wgvx.ports.channel import Channel
from wgvx.ports.errors import PortError
from wgvx.ports.outside import Here
from wgvx.ports.tap_mtu import set_tap_mtu
from wgvx.privilege.names import Names
from wgvx.privilege.notify import notify
from wgvx.privilege.orders import Plan
from wgvx.privilege.plan import is_address
from wgvx.state import write_bound
from wgvx.threads import in_thread
from wgvx.underlay import UdpSocket, UnderlayError, open_sockets

log = logging.getLogger(__name__)

T = TypeVar("T")

READING_SECONDS = 30.0
"""Longer than 100,000 prefixes take; a key file may be a pipe that nobody writes to."""


class Errands(Here):
    """Done by the node itself."""

    channel: Channel | None = None
    """To the helper, where there is one."""

    manager: str | None = None
    """Where a service manager listens, if there is one."""

    def open_sockets(self, port: int, fwmark: int, workers: int) -> list[UdpSocket]:
        """See :func:`wgvx.underlay.open_sockets`."""
        return open_sockets(port, fwmark, workers)

    def set_fwmark(self, sockets: Sequence[UdpSocket], fwmark: int) -> None:
        """Mark what these send. Raises UnderlayError."""
        for one in sockets:
            one.set_fwmark(fwmark)

    def store(self, path: Path, bound: int) -> None:
        """Keep the bound of the stamps. Raises OSError."""
        write_bound(path, bound)

    def set_tap_mtu(
        self, name: str, mtu: int, netns: str | None, namespaces: Sequence[int] | None
    ) -> None:
        """See :func:`wgvx.ports.tap_mtu.set_tap_mtu`."""
        set_tap_mtu(name, mtu, netns, namespaces)

    @property
    def looks_up_names(self) -> bool:
        """Whether :meth:`look_up` finds more than addresses."""
        return True

    async def load(self, path: Path) -> Config:
        """Read the node's own file and the key files that it names, again. Raises ConfigError."""

        def read() -> Config | ConfigError:
            try:
                return load(path)
            except ConfigError as error:
                return error

        return _config(await _in_time(path, in_thread(read, "reload")))

    def unlink(self, path: Path) -> None:
        """Take a file's name away that is the node's, if it is there."""
        path.unlink(missing_ok=True)

    def notify(self, state: str, status: str | None = None) -> None:
        """Tell the service manager, if there is one; see :mod:`wgvx.privilege.notify`. Raises
        OSError."""
        if self.manager is not None:
            notify(self.manager, state, status)

    def close(self) -> None:
        """Nothing is wanted any more."""


class HelpedErrands(Errands):
    """Starts a helper, and asks it from `seal` on; before, the node does everything itself.
    ``names``: there may be some to look up."""

    def __init__(self, *, names: bool) -> None:
        self._helper = self.channel = Channel("wgvx.privilege.helper")
        self._names = Names() if names else None
        self._sealed = False

    def seal(self, plan: Plan) -> None:
        """Nothing but this plan from now on. Raises PortError."""
        self._helper.ask("seal", **asdict(plan))
        self._sealed = True

    def close(self) -> None:
        """Let the helper go."""
        if self._names is not None:
            self._names.close()
        self._helper.close()

    # --- as the node would do it -------------------------------------------------------------

    def open_sockets(self, port: int, fwmark: int, workers: int) -> list[UdpSocket]:
        if not self._sealed:
            return super().open_sockets(port, fwmark, workers)
        reply, fds = self._ask_for_sockets("sockets", port=port, fwmark=fwmark)
        return [UdpSocket.adopt(fd, n) for fd, n in zip(fds, reply["workers"], strict=True)]

    def set_fwmark(self, sockets: Sequence[UdpSocket], fwmark: int) -> None:
        if not self._sealed:
            super().set_fwmark(sockets, fwmark)
            return
        self._ask_for_sockets("mark", [one.fileno() for one in sockets], fwmark=fwmark)

    def _ask_for_sockets(
        self, op: str, fds: Sequence[int] = (), **fields: int
    ) -> tuple[dict[str, Any], list[int]]:
        try:
            reply, received = self._helper.ask(op, fds, **fields)
        except PortError as error:
            raise UnderlayError(str(error), errno.EIO) from error
        if "refused" in reply:
            raise UnderlayError(reply["refused"], reply["code"])
        return reply, received

    async def look_up(self, name: EndpointName, *, passive: bool = False) -> list[Place]:
        if self._names is None or is_address(name):
            return await super().look_up(name, passive=passive)
        return await self._names.look_up(name, passive=passive)

    @property
    def looks_up_names(self) -> bool:
        return self._names is not None or not self._sealed

    async def load(self, path: Path) -> Config:
        if not self._sealed:
            return await super().load(path)
        read = await _in_time(path, self._read())
        if read is None:
            raise ConfigError(f"{path}: reading it failed; the reason stands in the node's log")
        return _config(read)

    async def _read(self) -> Config | ConfigError | None:
        _, (fd,) = self._ask("read")
        answer = await _read_to_end(fd)
        # Half a second for 100,000 prefixes, in which packets have their turn.
        return await in_thread(lambda: _unpickled(answer), "reload")

    def store(self, path: Path, bound: int) -> None:
        if not self._sealed:
            super().store(path, bound)
            return
        self._ask("stamp", bound=bound)

    def set_tap_mtu(
        self, name: str, mtu: int, netns: str | None, namespaces: Sequence[int] | None
    ) -> None:
        if self._sealed:
            self._ask("mtu", namespaces or (), tap=[name, netns], mtu=mtu)
        else:
            super().set_tap_mtu(name, mtu, netns, namespaces)

    def connect_stream(self, path: Path) -> socket.socket:
        if not self._sealed:
            return super().connect_stream(path)
        _, (fd,) = self._ask("stream", path=str(path))
        return socket.socket(fileno=fd)

    def connect_dgram(self, local: Path, remote: Path) -> socket.socket:
        if not self._sealed:
            return super().connect_dgram(local, remote)
        _, (fd,) = self._ask("datagram", path=str(local))
        return socket.socket(fileno=fd)

    def remove(self, path: Path) -> None:
        if self._sealed:
            self.unlink(path)
        else:
            super().remove(path)

    def unlink(self, path: Path) -> None:
        if not self._sealed:
            super().unlink(path)
            return
        try:
            self._ask("unlink", path=str(path))
        except OSError as error:
            log.warning("%s is left: %s", path, error.strerror)

    def notify(self, state: str, status: str | None = None) -> None:
        if not self._sealed:
            super().notify(state, status)
        elif self.manager is not None:
            self._ask("notify", state=state, status=status)

    def _ask(
        self, op: str, fds: Sequence[int] = (), **fields: Any
    ) -> tuple[dict[str, Any], list[int]]:
        """Raises OSError, as the system would have."""
        try:
            return self._helper.ask(op, fds, **fields)
        except PortError as error:
            raise OSError(errno.EIO, str(error)) from error


async def _in_time(path: Path, reading: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(READING_SECONDS):
            return await reading
    except TimeoutError:
        raise ConfigError(
            f"{path}: reading it, and the key files that it names, took longer than "
            f"{READING_SECONDS:.0f} s"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read again: {error.strerror or error}") from None


def _config(read: Config | ConfigError) -> Config:
    if isinstance(read, ConfigError):
        raise read
    return read


def _unpickled(answer: bytes) -> Config | ConfigError | None:
    """What the reader sent; None where it ended too early. It has more power than we have, not
    less, so what it says is believed."""
    try:
        read: Config | ConfigError = pickle.loads(answer)
    except (EOFError, pickle.UnpicklingError):
        return None
    return read


async def _read_to_end(fd: int) -> bytes:
    """What comes through a pipe, which is then closed."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    try:
        return await reader.read()
    finally:
        transport.close()

"""The helper process that makes TAPs and namespaces for a node.

Theory of operation. Netlink and namespaces want a process of their own: pyroute2 cannot run inside
an event loop, unshare(CLONE_NEWUSER) wants a single thread, and whoever gives an adopted TAP back
must outlive a node that was killed. So the node starts this module with one end of a
socket pair (:mod:`wgvx.ports.channel`) and sends it requests:

  {"op": "start", "rootless": bool}  ->  {}                  [user namespace, network namespace]
  {"op": "tap", **TapRequest}        ->  {"adopted": bool}   [TAP ..., its network namespace]
  {"op": "ready"}                    ->  {"stays": bool}

The namespaces are sent where rootless only; of the TAP one descriptor a queue. With `ready` set-up
is complete: the broker ends unless it has an adopted TAP to watch over. At the end of the socket,
however that came about, it gives those back and ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from wgvx.ports import mend, userns
from wgvx.ports.channel import Answer
from wgvx.ports.device import Device
from wgvx.ports.errors import PortError
from wgvx.ports.request import TapRequest
from wgvx.ports.serving import serve

NETNS_FOLDER = Path("/run/netns")


class Space:
    """A network namespace and a netlink socket in it. To be made inside."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ip = IPRoute()

    def raise_loopback(self) -> None:
        """The first thing that takes power over the namespace, which AppArmor may deny."""
        (index,) = self.ip.link_lookup(ifname="lo")
        try:
            self.ip.link("set", index=index, state="up")
        except NetlinkError as error:
            raise mend.no_namespace(OSError(error.code, str(error))) from error


class Broker:
    """Carries out the requests of one node. `rootless` makes its namespaces at once."""

    def __init__(self, rootless: bool) -> None:
        self._rootless = rootless
        if rootless:
            try:
                userns.become_root_of_new_namespaces()
            except OSError as error:
                raise mend.no_namespace(error) from error
        self._home = Space(userns.open_own("net"))
        self._spaces: dict[str | None, Space] = {None: self._home}
        self._adopted: list[tuple[Space, Device]] = []
        if rootless:
            self._home.raise_loopback()

    @property
    def stays(self) -> bool:
        """Whether something is left to do at the end of the node."""
        return bool(self._adopted)

    def namespaces(self) -> list[int]:
        """Descriptors for the node to keep: they hold the namespaces, which outlive the broker."""
        return [userns.open_own("user"), os.dup(self._home.fd)] if self._rootless else []

    def tap(self, request: TapRequest) -> tuple[list[int], bool]:
        """Make or adopt a TAP; descriptors of it and, rootless, of its network namespace; and
        whether it was there."""
        request.check()
        space = self._space(request.netns)
        with self._inside(space.fd):
            device = Device(space.ip, request, self._rootless)
        if device.found is None:
            fds = device.fds  # the only ones: the TAP lives just as long as the node holds them
        else:
            self._adopted.append((space, device))
            fds = [os.dup(fd) for fd in device.fds]
        if self._rootless:
            fds.append(os.dup(space.fd))
        return fds, device.found is not None

    def close(self) -> None:
        """Restore every adopted TAP, the last one first."""
        while self._adopted:
            space, device = self._adopted.pop()
            with self._inside(space.fd):
                device.give_back()
        for space in self._spaces.values():
            space.ip.close()

    def _space(self, netns: str | None) -> Space:
        if netns not in self._spaces:
            fd = self._new_netns() if self._rootless else _named_netns(netns)
            try:
                with self._inside(fd):
                    space = Space(fd)
                    if self._rootless:
                        space.raise_loopback()
            except OSError as error:
                os.close(fd)
                raise PortError(_why_not_entered(netns, error)) from error
            self._spaces[netns] = space
        return self._spaces[netns]

    def _new_netns(self) -> int:
        try:
            userns.unshare(userns.CLONE_NEWNET)
        except OSError as error:
            raise mend.no_namespace(error) from error
        fd = userns.open_own("net")
        userns.setns(self._home.fd, userns.CLONE_NEWNET)
        return fd

    @contextlib.contextmanager
    def _inside(self, fd: int) -> Iterator[None]:
        """Be in a network namespace for a while. To stay at home takes no privilege."""
        if fd == self._home.fd:
            yield
            return
        userns.setns(fd, userns.CLONE_NEWNET)
        try:
            yield
        finally:
            userns.setns(self._home.fd, userns.CLONE_NEWNET)


def _named_netns(netns: str | None) -> int:
    path = NETNS_FOLDER / str(netns)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PortError(
            f"there is no network namespace {netns}: `ip netns add {netns}` as root"
        ) from error
    except OSError as error:
        raise PortError(f"network namespace {netns}: {path}: {error.strerror}") from error


def _why_not_entered(netns: str | None, error: OSError) -> str:
    if error.errno == errno.EPERM:
        return (
            f"network namespace {netns}: to enter it takes CAP_SYS_ADMIN: run as root, or use "
            "namespaces of your own with `wgvx up NAME --rootless`"
        )
    if error.errno == errno.EINVAL:
        return (
            f"{NETNS_FOLDER / str(netns)} is not a network namespace, a left-over perhaps: "
            f"`ip netns delete {netns}; ip netns add {netns}` as root"
        )
    return f"network namespace {netns}: {error.strerror}"


class Desk:
    """What is asked of a broker, one request after the other."""

    def __init__(self) -> None:
        self._broker: Broker | None = None

    @property
    def stays(self) -> bool:
        """Whether something is to be given back at the end."""
        return self._broker is not None and self._broker.stays

    def answer(self, op: str, request: dict[str, Any]) -> Answer:
        """Raises PortError, OSError."""
        try:
            match op:
                case "start" if not self._broker:
                    self._broker = Broker(request["rootless"])
                    return {}, self._broker.namespaces()
                case "tap" if self._broker:
                    fds, adopted = self._broker.tap(TapRequest.from_json(request))
                    return {"adopted": adopted}, fds
                case "ready" if self._broker:
                    return {"stays": self._broker.stays}, []
        except NetlinkError as error:
            raise PortError(f"the kernel refused to set up a port: {error}") from error
        raise PortError(f"the broker cannot {op!r} now")

    def close(self) -> None:
        """Give back what was adopted. Idempotent."""
        broker, self._broker = self._broker, None
        if broker:
            broker.close()


def main() -> int:
    desk = Desk()
    return serve(int(sys.argv[1]), lambda op, request, _: desk.answer(op, request), desk.close)


if __name__ == "__main__":
    sys.exit(main())

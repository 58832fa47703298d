"""The helper process of a node that has confined itself.

Theory of operation. What a node parses comes from anybody, so a node gives up whatever it does not
need for packets: capabilities, new privileges, system calls. What it wants of the system later on
it asks this process for, which was started before and has all that the node had; it never sees a
packet. Unless the node is rootless it is its broker, too (:mod:`wgvx.ports.broker`), until the node
sends its plan:

  {"op": "seal", **Plan}                  ->  {}

From then on nobody is believed any more, and these are all the requests there are:

  {"op": "stamp", "bound": N}             ->  {}                   write the file of the stamps
  {"op": "unlink", "path": P}             ->  {}                   one of the plan's files
  {"op": "stream", "path": P}             ->  {}             [fd]  a VM's socket of the plan
  {"op": "datagram", "path": P}           ->  {}             [fd]  the same, by our own path
  {"op": "sockets", "port", "fwmark"}     ->  {"workers"}  [fd...] the node's UDP sockets, anew
  {"op": "mark", "fwmark": N}  [fd...]    ->  {}                   SO_MARK, on UDP sockets
  {"op": "mtu", "tap": T, "mtu"}  [fd...] ->  {}                   of [NAME, NETNS] of the plan, or
                                                                   in a rootless node's namespaces
  {"op": "read"}                          ->  {}             [fd]  the node's file, see reader.py
  {"op": "notify", "state", "status"}     ->  {}                   tell the service manager
  {"op": "unmake"}                        ->  {}                   give adopted TAPs back

Where the system refuses a port or a mark, the answer is {"refused": text, "code": errno}.

Making TAPs takes much that is of no use afterwards. So unless some are to be given back at the end,
the process becomes a fresh one once it has the plan, and loads what a request wants when it comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgvx.ports import child
from wgvx.ports.channel import Answer
from wgvx.ports.errors import PortError
from wgvx.ports.serving import serve
from wgvx.privilege.capabilities import refuse_new_privileges
from wgvx.privilege.orders import Plan

if TYPE_CHECKING:
    from wgvx.ports.broker import Desk

LOCK = ".lock"
"""How the name of a node's lock ends (wgvx.control.paths)."""

INTERNET = (socket.AF_INET, socket.AF_INET6)


class Helper:
    """Answers one request after the other."""

    def __init__(self, descriptor: int, plan: Plan | None) -> None:
        self._descriptor = descriptor
        self._plan = plan
        self._broker: Desk | None = None
        self._reader: subprocess.Popen[bytes] | None = None

    def answer(self, op: str, request: dict[str, Any], fds: Sequence[int]) -> Answer:
        """Raises PortError, OSError; ValueError and the like for what is no request."""
        if op == "unmake":
            self.close()
            return {}, []
        if self._plan is None:
            return self._set_up(op, request)
        match op:
            case "stamp":
                return self._stamp(self._plan, request["bound"])
            case "unlink":
                _unlink(_one_of(self._plan.files, request["path"]))
                return {}, []
            case "stream":
                from wgvx.ports.outside import Here

                path = _one_of(self._plan.streams, request["path"])
                return {}, [Here().connect_stream(path).detach()]
            case "datagram":
                from wgvx.ports.outside import Here

                pairs = dict(self._plan.datagrams)
                local = _one_of(tuple(pairs), request["path"])
                return {}, [Here().connect_dgram(local, Path(pairs[str(local)])).detach()]
            case "sockets":
                return _sockets(request["port"], request["fwmark"], self._plan.workers)
            case "mark":
                return _mark(request["fwmark"], fds)
            case "mtu":
                return _set_mtu(self._plan.taps, request["tap"], request["mtu"], fds)
            case "read":
                return {}, [self._read(self._plan.config)]
            case "notify":
                return _notify(self._plan.manager, request["state"], request["status"])
        raise PortError(f"a confined node cannot ask for {op!r}")

    def grow_small(self) -> None:
        """Become a fresh process with the plan, where no more than that is left to know."""
        if self._plan is None or self._broker is None or self._broker.stays:
            return
        arguments = (str(self._descriptor), json.dumps(asdict(self._plan)))
        os.set_inheritable(self._descriptor, True)
        os.execv(sys.executable, child.command("wgvx.privilege.helper", *arguments))

    def close(self) -> None:
        """Give back what was adopted."""
        if self._reader is not None:
            self._reader.kill()
            self._reader.wait()
        if self._broker is not None:
            self._broker.close()

    def _set_up(self, op: str, request: dict[str, Any]) -> Answer:
        if op == "seal":
            self._plan = _plan(request)
            return {}, []
        if self._broker is None:
            # pyroute2 takes time and memory, and not every node has TAPs.
            from wgvx.ports.broker import Desk

            self._broker = Desk()
        return self._broker.answer(op, request)

    def _read(self, config: str) -> int:
        """A pipe out of which comes what a process of its own, one at a time, makes of the file:
        that takes memory, and the time that a disk takes."""
        if self._reader is not None:
            self._reader.kill()
            self._reader.wait()
        ours, theirs = os.pipe()
        try:
            self._reader = subprocess.Popen(
                child.command("wgvx.privilege.reader", config),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return ours

    def _stamp(self, plan: Plan, bound: object) -> Answer:
        from wgvx.state import LATEST, write_bound

        if type(bound) is not int or not 0 <= bound < LATEST:
            raise ValueError("no stamp")
        write_bound(Path(plan.stamps), bound)
        return {}, []


def _one_of(paths: Sequence[str], path: object) -> Path:
    if path not in paths:
        raise PortError("that is not the node's to ask for")
    return Path(str(path))


def _unlink(path: Path) -> None:
    """The lock, and sockets; whatever else may lie there by now is somebody's."""
    with contextlib.suppress(FileNotFoundError):
        if path.suffix == LOCK or stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def _plan(fields: dict[str, Any]) -> Plan:
    lists = ("files", "streams")
    pairs = ("datagrams", "taps")
    made = {name: tuple(fields[name]) for name in lists}
    return Plan(**fields | made | {name: tuple(map(tuple, fields[name])) for name in pairs})


def _sockets(port: object, fwmark: object, workers: int) -> Answer:
    from wgvx.underlay import UnderlayError, open_sockets

    if type(port) is not int or not 0 <= port <= 65535:
        raise ValueError("no port")
    try:
        sockets = open_sockets(port, _fwmark(fwmark), workers)
    except UnderlayError as error:
        return {"refused": str(error), "code": error.code}, []
    try:
        fds = [os.dup(one.fileno()) for one in sockets]
    finally:
        for one in sockets:
            one.close()
    return {"workers": [one.worker for one in sockets]}, fds


def _mark(fwmark: object, fds: Sequence[int]) -> Answer:
    from wgvx.underlay import UdpSocket, UnderlayError

    mark = _fwmark(fwmark)
    for fd in fds:
        one = UdpSocket.adopt(os.dup(fd), 1)
        try:
            if one.family not in INTERNET or not one.is_udp:
                raise PortError("that is no UDP socket")
            one.set_fwmark(mark)
        except UnderlayError as error:
            return {"refused": str(error), "code": error.code}, []
        finally:
            one.close()
    return {}, []


def _set_mtu(
    taps: Sequence[tuple[str, str | None]],
    tap: Sequence[str | None],
    mtu: object,
    namespaces: Sequence[int],
) -> Answer:
    from wgvx.mtu import MAXIMUM_OVERLAY_MTU, MINIMUM_MTU
    from wgvx.ports.tap_mtu import set_tap_mtu

    name, netns = tap
    if (name, netns) not in taps:
        raise PortError("that is not the node's to ask for")
    if type(mtu) is not int or not MINIMUM_MTU <= mtu <= MAXIMUM_OVERLAY_MTU:
        raise ValueError("no MTU")
    if len(namespaces) not in (0, 2):
        raise ValueError("no namespaces")
    set_tap_mtu(str(name), mtu, netns, namespaces or None)
    return {}, []


def _notify(manager: str | None, state: str, status: str | None) -> Answer:
    from wgvx.privilege.notify import notify

    if manager is None:
        raise PortError("there is no service manager")
    notify(manager, state, status)
    return {}, []


def _fwmark(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError("no mark")
    return value


def main() -> int:
    refuse_new_privileges()  # It runs no programs but wgvx's own.
    descriptor, *plan = sys.argv[1:]
    helper = Helper(int(descriptor), _plan(json.loads(plan[0])) if plan else None)
    return serve(int(descriptor), helper.answer, helper.close, helper.grow_small)


if __name__ == "__main__":
    sys.exit(main())

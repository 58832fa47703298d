"""A node's own control socket: one JSON object a line, one answer to each.

Requests are ``{"command": NAME, ...}``; answers ``{"result": ...}``, or ``{"error": TEXT,
"status": EXIT_STATUS}``. A result that is a long list is made and sent in slices, between which
packets have their turn. The socket's mode keeps everybody else out, so a caller is the node's
owner.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Any

from wgvx.config import ConfigError, parse_mac
from wgvx.config.values import parse_address
from wgvx.control import status
from wgvx.control.capture import MAXIMUM_SNAPLEN, Captures, Wish
from wgvx.control.entering import no_namespace
from wgvx.control.paths import NodeLock
from wgvx.control.prefix import format_address
from wgvx.control.unix import UnixServer, send
from wgvx.node import Node
from wgvx.ports.errors import PortError
from wgvx.reload.reloader import Reloader
from wgvx.underlay import UnderlayError
from wgvx.vxlan.fdb import FLOOD

LONGEST_REQUEST = 65536
SLICE = 500
"""Items of a long result made at a time."""
MODE = 0o600

BROADCAST = b"\xff" * 6

OVERRIDES_FLOOD = (
    "broadcasts now go to this MAC's entries alone and no longer to the flood list, whose MAC is "
    "00:00:00:00:00:00"
)


class Refused(Exception):  # noqa: N818 - an answer, not an error of the program
    """A request that cannot be done, with the exit status it deserves."""

    def __init__(self, message: str, exit_status: int = 2) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class ControlServer:
    """Serves a node's control socket until closed."""

    def __init__(self, node: Node, lock: NodeLock, reloader: Reloader) -> None:
        self._node = node
        self._reloader = reloader
        self._captures = Captures(node)
        self._server = UnixServer(
            lock.socket, MODE, LONGEST_REQUEST, self._converse, node.errands.unlink
        )
        self._commands: dict[str, Callable[[dict[str, Any]], Any]] = {
            "show": lambda _: status.show(node),
            "fdb": lambda request: status.fdb(node, self._vni(request, required=False)),
            "fdb_moves": lambda request: status.fdb_moves(node, self._vni(request, required=False)),
            "fdb_add": self._fdb_add,
            "fdb_delete": self._fdb_delete,
            "fdb_flush": self._fdb_flush,
            "namespace": self._namespace,
            "reload": lambda _: self._reload(),
            "capture": self._capture,
            "down": lambda _: node.stop(),
        }

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def close(self) -> None:
        """Answer no more; the socket is gone."""
        await self._captures.close()
        await self._server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            answer = self._answer(line)
            if isinstance(wish := answer.get("result"), Wish):
                await send(writer, b'{"result": null}\n')
                await self._captures.serve(wish, reader, writer)
                return
            if isinstance(answer.get("result"), Awaitable):
                answer = await answer["result"]
            if isinstance(answer.get("result"), Iterator):
                await _send_sliced(writer, answer["result"])
            else:
                await send(writer, json.dumps(answer).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or request.get("command") not in self._commands:
                raise Refused("unknown command: is the node of another version?", 1)
            return {"result": self._commands[request["command"]](request)}
        except Refused as refused:
            return {"error": str(refused), "status": refused.exit_status}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"error": f"bad request: {error}", "status": 2}

    async def _reload(self) -> dict[str, Any]:
        """The whole answer, which takes a while; its result is {"changes": [what was changed, in
        words], "warnings": [what is hardly meant]}."""
        try:
            changes, warnings = await self._reloader.reload()
        except (ConfigError, UnderlayError) as error:
            status = 2 if isinstance(error, ConfigError) else 1
            return {"error": str(error), "status": status}
        return {"result": {"changes": changes, "warnings": warnings}}

    def _capture(self, request: dict[str, Any]) -> Wish:
        """What is written then is no JSON, but pcapng until the caller closes his side."""
        snaplen, count = request.get("snaplen"), request.get("count")
        if any(number is not None and number < 1 for number in (snaplen, count)):
            raise ValueError("snaplen and count are 1 or more")
        return Wish(
            outer=bool(request.get("outer")),
            vni=self._vni(request, required=False),
            snaplen=min(MAXIMUM_SNAPLEN, snaplen or MAXIMUM_SNAPLEN),
            count=count,
            keys=bool(request.get("keys")) and bool(request.get("outer")),
        )

    # --- the forwarding table ----------------------------------------------------------------

    def _vni(self, request: dict[str, Any], *, required: bool) -> int | None:
        networks = self._node.engine.networks
        vni = request.get("vni")
        if vni is None:
            if not required:
                return None
            if len(networks) == 1:
                return next(iter(networks))
            known = ", ".join(map(str, networks)) or "none"
            raise Refused(f"say which network with --vni N (this node has {known})")
        if vni not in networks:
            known = ", ".join(map(str, networks)) or "none"
            raise Refused(f"this node has no network with VNI {vni} (it has {known})")
        return int(vni)

    def _one_vni(self, request: dict[str, Any]) -> int:
        vni = self._vni(request, required=True)
        assert vni is not None
        return vni

    def _fdb_add(self, request: dict[str, Any]) -> dict[str, Any]:
        """{"replaced": the VTEP of the static entry that this one replaces, or None,
        "warnings": [what is hardly meant]}
        """
        mac, vtep = _mac(request["mac"]), _vtep(request["vtep"])
        own = self._node.config.node.addresses
        if all(len(address.packed) != len(vtep) for address in own):
            raise Refused(
                f"{request['vtep']} cannot be reached: this node has no tunnel address of its "
                "family (`address` in [node])"
            )
        vni = self._one_vni(request)
        try:
            replaced = self._node.dataplane.fdb_add(vni, mac, vtep)
        except ValueError as error:
            raise Refused(str(error)) from None
        return {
            "replaced": None if replaced is None else format_address(replaced),
            "warnings": list(self._entry_warnings(mac, vtep)),
        }

    def _entry_warnings(self, mac: bytes, vtep: bytes) -> Iterator[str]:
        """As `wgvx check` warns of entries in a file."""
        if any(vtep == address.packed for address in self._node.config.node.addresses):
            yield f"{format_address(vtep)} is this node's own address"
        elif self._node.dataplane.route(vtep) is None:
            yield f"no peer's allowed_ips covers {format_address(vtep)}: nothing can be sent there"
        if mac == BROADCAST:
            yield OVERRIDES_FLOOD

    def _fdb_delete(self, request: dict[str, Any]) -> None:
        mac = _mac(request["mac"])
        vtep = _optional_vtep(request)
        if not self._node.dataplane.fdb_delete(self._one_vni(request), mac, vtep):
            what = "flood list entry" if mac == FLOOD else f"entry {request['mac']}"
            at = f" at {request['vtep']}" if vtep else ""
            raise Refused(f"there is no {what}{at}", 1)

    def _fdb_flush(self, request: dict[str, Any]) -> int:
        vtep = _optional_vtep(request)
        static = bool(request.get("static"))
        vni = self._vni(request, required=False)
        vnis = list(self._node.engine.networks) if vni is None else [vni]
        return sum(self._node.dataplane.fdb_flush(n, vtep, static=static) for n in vnis)

    # --- namespaces --------------------------------------------------------------------------

    def _namespace(self, request: dict[str, Any]) -> dict[str, str]:
        """Paths under which the node's owner can open the namespaces."""
        try:
            fds = self._node.namespace(request.get("netns"))
        except PortError as error:
            raise Refused(str(error)) from None
        if fds is None:
            raise Refused(no_namespace(self._node.config))
        user, net = (f"/proc/{os.getpid()}/fd/{fd}" for fd in fds)
        return {"user": user, "net": net}


async def _send_sliced(writer: asyncio.StreamWriter, items: Iterator[Any]) -> None:
    """``{"result": [ITEM, ...]}`` on one line."""
    text = '{"result": ['
    comma = ""
    while part := list(islice(items, SLICE)):
        await send(writer, (text + comma + json.dumps(part)[1:-1]).encode())
        text, comma = "", ", "
        await asyncio.sleep(0)
    await send(writer, (text + "]}\n").encode())


def _mac(text: str) -> bytes:
    try:
        return parse_mac(text)
    except ValueError:
        raise Refused(
            f"{text!r} is not a MAC address: want six bytes as 02:00:00:00:00:01"
        ) from None


def _optional_vtep(request: dict[str, Any]) -> bytes | None:
    """None means all of them; an empty text is a mistake, an unset variable perhaps."""
    text = request.get("vtep")
    return None if text is None else _vtep(text)


def _vtep(text: str) -> bytes:
    try:
        return parse_address(text).packed
    except ValueError:
        raise Refused(f"{text!r} is not a VTEP: want a tunnel address as 10.254.0.2") from None

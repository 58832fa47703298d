"""Looks names up for a node that cannot: getaddrinfo(3) opens files, libraries and sockets of its
own. A process of its own, without privilege: answers of name servers are no better than packets.

Requests are {"id", "host", "port", "passive"}, answers {"id", "found": [[family, address], ...]} or
{"id", "error": text}, in any order: a name server that does not answer holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import encodings.idna  # noqa: F401 - or getaddrinfo loads it, from where we may not read then
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import Any, Final, cast

from wgvx.config import EndpointName
from wgvx.hosts import Place, look_up_now
from wgvx.ports import child
from wgvx.privilege.capabilities import drop_capabilities, refuse_new_privileges

log = logging.getLogger(__name__)

MAX_MESSAGE: Final = 65536
AT_ONCE: Final = 32
"""Look-ups at a time, each with a thread; more wait in the socket."""
END_SECONDS: Final = 5.0
NOBODY: Final = "nobody looks up names"


class Names:
    """The asking end. Starts the process; `close` ends it, whatever it waits for."""

    def __init__(self) -> None:
        self._sock, self.process = child.start_on_socket("wgvx.privilege.names")
        self._sock.setblocking(False)
        self._waiting: dict[int, asyncio.Future[list[Place]]] = {}
        self._next = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone = False

    async def look_up(self, name: EndpointName, *, passive: bool = False) -> list[Place]:
        """All addresses of a name; ``passive``: to bind to. Raises OSError."""
        if self._gone:
            raise OSError(NOBODY)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            loop.add_reader(self._sock.fileno(), self._on_answer)
        self._next += 1
        number = self._next
        future: asyncio.Future[list[Place]] = loop.create_future()
        request = {"id": number, "host": name.host, "port": name.port, "passive": passive}
        self._sock.send(json.dumps(request).encode())
        self._waiting[number] = future
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Idempotent."""
        self._forget()
        self._sock.close()
        self.process.end(END_SECONDS)

    def _forget(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock.fileno())
        self._loop = None

    def _on_answer(self) -> None:
        try:
            message = self._sock.recv(MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        try:
            # What it parses comes from anybody: it may be somebody else's by now.
            number, found = _parse(message) if message else (0, None)
        except (ValueError, TypeError, KeyError, RecursionError):
            message = b""
        if not message:
            log.warning("the process that looks up names is gone: no name is found from now on")
            self._gone = True
            self._forget()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(OSError(NOBODY))
            return
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if isinstance(found, OSError):
            waiting.set_exception(found)
        elif found is not None:
            waiting.set_result(found)


def _parse(message: bytes) -> tuple[int, list[Place] | OSError]:
    """Which request it answers, and what. Raises ValueError, TypeError, KeyError or
    RecursionError."""
    answer: dict[str, Any] = json.loads(message)
    number = int(answer["id"])
    if "error" in answer:
        return number, OSError(str(answer["error"]))
    return number, [(socket.AddressFamily(f), tuple(where)) for f, where in answer["found"]]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    number = request["id"]
    name = EndpointName(request["host"], request["port"])
    try:
        return {"id": number, "found": look_up_now(name, passive=request["passive"])}
    except OSError as error:
        return {"id": number, "error": str(error)}


def main() -> int:
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    drop_capabilities()
    refuse_new_privileges()
    slots = threading.BoundedSemaphore(AT_ONCE)
    with socket.socket(fileno=int(sys.argv[1])) as sock:

        def work(request: dict[str, Any]) -> None:
            try:
                with contextlib.suppress(OSError):  # The node is gone.
                    sock.send(json.dumps(_answer(request)).encode())
            finally:
                slots.release()

        while message := sock.recv(MAX_MESSAGE):
            slots.acquire()
            request = cast("dict[str, Any]", json.loads(message))
            threading.Thread(target=work, args=(request,), daemon=True).start()
        os._exit(0)  # Whatever is still being looked up.


if __name__ == "__main__":
    sys.exit(main())

"""A process of our own that has what the node has not, asked over a socket pair.

One JSON object a message, each answered with one, {"error": text, "denied": bool} where it failed,
with "cure" where `denied` (a PortDeniedError); descriptors travel beside it (SCM_RIGHTS).
"""

from __future__ import annotations

import array
import json
import socket
from collections.abc import Sequence
from typing import Any

from wgvx.ports import child
from wgvx.ports.errors import PortDeniedError, PortError
from wgvx.ports.request import MAX_QUEUES

ANSWER_SECONDS = 30.0
END_SECONDS = 10.0
MAX_MESSAGE = 65536
MAX_FDS = 2 * MAX_QUEUES + 1
"""Sockets of both families for each worker, or queues and a network namespace; the kernel allows
253 (SCM_MAX_FD)."""

Answer = tuple[dict[str, Any], list[int]]


class Channel:
    """The asking end: starts `main()` of `module`, which is to `serve` its first argument. Calls
    block. `close` may be called more than once."""

    def __init__(self, module: str) -> None:
        self._sock, self.process = child.start_on_socket(module)
        self._sock.settimeout(ANSWER_SECONDS)

    def ask(self, op: str, fds: Sequence[int] = (), **fields: Any) -> Answer:
        """One request, its answer and the descriptors that came with it, close-on-exec. Raises
        PortError, which says why."""
        try:
            socket.send_fds(self._sock, [json.dumps({"op": op, **fields}).encode()], fds)
            answer, received = receive(self._sock)
        except TimeoutError as error:
            raise PortError(f"the helper took longer than {ANSWER_SECONDS:.0f} s") from error
        except OSError as error:
            raise PortError(f"the helper process is gone: {error.strerror}") from error
        if not answer:
            raise PortError("the helper process ended; the reason stands above")
        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            if reply["denied"]:
                raise PortDeniedError(reply["error"], reply["cure"])
            raise PortError(reply["error"])
        return reply, received

    def close(self) -> None:
        """Let the process end, and wait for that."""
        self._sock.close()
        self.process.end(END_SECONDS)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One message and its descriptors. Not socket.recv_fds, which ignores its flags: what comes
    would be inherited by every program that is started."""
    fds = array.array("i")
    message, ancillary, _, _ = sock.recvmsg(
        MAX_MESSAGE, socket.CMSG_SPACE(MAX_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)

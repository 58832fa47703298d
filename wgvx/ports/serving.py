"""The answering end of a :class:`~wgvx.ports.channel.Channel`."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from wgvx.ports.channel import Answer, receive
from wgvx.ports.errors import PortDeniedError, PortError

Answerer = Callable[[str, dict[str, Any], Sequence[int]], Answer]
"""(op, the other fields, descriptors that came along) -> the answer and descriptors, which are
closed here once they are sent. Raises PortError or OSError."""


def serve(
    descriptor: int,
    answer: Answerer,
    close: Callable[[], None],
    answered: Callable[[], None] = lambda: None,
) -> int:
    """Answer requests until the node is gone or needs no more, then `close`; an exit status.
    ``answered`` is called behind each one."""
    # The node says when to end, by closing its socket: not a terminal, nor a service manager that
    # signals the whole group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as sock:
        try:
            while True:
                message, received = receive(sock)
                if not message:
                    break
                reply, fds = _answer(answer, message, received)
                socket.send_fds(sock, [json.dumps(reply).encode()], fds)
                for fd in (*fds, *received):
                    os.close(fd)
                if reply.get("stays") is False:
                    break
                answered()
        except OSError:
            pass  # the node went away while we answered
        finally:
            close()
    return 0


def _answer(answer: Answerer, message: bytes, received: Sequence[int]) -> Answer:
    """What asks may be in the hands of somebody else: nothing that it says ends us."""
    try:
        request = json.loads(message)
        return answer(request.pop("op"), request, received)
    except PortDeniedError as denied:
        return {"error": denied.why, "denied": True, "cure": denied.cure}, []
    except PortError as error:
        why = str(error)
    except OSError as error:
        why = f"the kernel refused: {error}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"no request of a node: {error!r}"
    return {"error": why, "denied": False}, []

"""An HTTP proxy into the overlay that does CONNECT, RFC 9110, section 9.3.6, and nothing else."""

from __future__ import annotations

import logging
import re
from typing import Final

from wgvx.stack.client import Client
from wgvx.stack.dialer import Dialer

log = logging.getLogger(__name__)

MAX_REQUEST: Final = 8192
"""Bytes of a request with all its header fields."""

PATIENCE: Final = 10.0
"""Seconds that a client has for its request."""

_REQUEST: Final = re.compile(rb"([!-~]+) ([!-~]+) HTTP/1\.[01]\r?\n")
_AUTHORITY: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/?#@]+)):([0-9]{1,5})")

REASONS: Final = {
    200: "Connection established",
    400: "Bad Request",
    405: "Method Not Allowed",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}


class BadRequestError(ValueError):
    """``status`` is what the client is told."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


def parse(request: bytes) -> tuple[str, int]:
    """Host and port of a CONNECT. Raises BadRequestError."""
    found = _REQUEST.match(request)
    if found is None:
        raise BadRequestError(400)
    if found[1] != b"CONNECT":
        raise BadRequestError(405)
    authority = _AUTHORITY.fullmatch(found[2].decode("ascii"))
    if authority is None or not 1 <= int(authority[3]) <= 65535:
        raise BadRequestError(400)
    return authority[1] or authority[2], int(authority[3])


def answer(status: int, text: str = "") -> bytes:
    """A whole answer; of anything but success with a body for people, which ends the connection."""
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\n"
    if status == 200:
        return f"{head}\r\n".encode()
    body = (text or REASONS[status]).encode() + b"\n"
    allow = "Allow: CONNECT\r\n" if status == 405 else ""
    fields = f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"{head}{allow}{fields}\r\n".encode() + body


class HttpConnect:
    """Serves one client after the other."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    async def serve(self, client: Client) -> None:
        """One request. Raises ClientError and TimeoutError."""
        async with client.request(PATIENCE):
            request = await client.until(b"\r\n\r\n", MAX_REQUEST)
        try:
            host, port = parse(request)
        except BadRequestError as error:
            await client.send(answer(error.status))
            return
        try:
            connection = await self._dialer.connect(host, port)
        except OSError as error:
            log.debug("CONNECT to %s port %d: %s", host, port, error)
            status = 504 if isinstance(error, TimeoutError) else 502
            await client.send(answer(status, error.strerror or str(error)))
            return
        with connection:
            await client.send(answer(200))
            connection.join(client.socket, client.rest())

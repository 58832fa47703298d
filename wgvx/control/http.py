"""One request of HTTP/1.1 (RFC 9112) and its answer, as bytes: no socket, no clock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

import h11

LONGEST_HEAD: Final = 8192
"""Bytes of a request line and its headers: what browsers and Prometheus send is far less."""

ALWAYS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
"""Of every answer that does not say otherwise: nothing of it is another site's."""


@dataclass(frozen=True)
class Response:
    """What is answered."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - an answer, not an error of the program
    """A request that is none, or asks for more than reading."""

    def __init__(self, status: HTTPStatus, **headers: str) -> None:
        super().__init__(status.phrase)
        self.response = Response(f"{status.phrase}\n".encode(), status=status, headers=headers)


class Exchange:
    """One request and its answer, behind which the connection ends.

    ``hosts`` are the names that a request may call us by; None: any. An address is always right.
    Otherwise a page of somebody else's, in a browser that reaches us, could let the name of its own
    site lead to us, and read what we answer.
    """

    def __init__(self, hosts: Collection[str] | None = None) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        self._hosts = hosts
        self._head_only = False

    def path(self, head: bytes) -> str:
        """What is asked for, without a query, of a request line with its headers to the empty line.
        Raises Refused."""
        try:
            self._connection.receive_data(head)
            request = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(HTTPStatus(error.error_status_hint)) from None
        if not isinstance(request, h11.Request):
            raise Refused(HTTPStatus.BAD_REQUEST)
        self._head_only = request.method == b"HEAD"
        if request.method not in (b"GET", b"HEAD"):
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        called = dict(request.headers).get(b"host", b"").decode("latin-1")
        if self._hosts is not None and not _is_ours(called, self._hosts):
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST)
        return request.target.decode("latin-1").partition("?")[0]

    def answer(self, response: Response) -> tuple[bytes, bytes]:
        """What is to be sent: head and body, which many may wait for without a copy for each."""
        headers = dict(ALWAYS) | response.headers
        headers["Content-Type"] = response.content_type
        headers["Content-Length"] = str(len(response.body))
        headers["Connection"] = "close"
        start = h11.Response(
            status_code=response.status,
            reason=response.status.phrase.encode(),
            headers=list(headers.items()),
        )
        sent = self._connection.send(start) or b""
        return sent, b"" if self._head_only else response.body


def _is_ours(called: str, hosts: Collection[str]) -> bool:
    name, colon, port = called.rpartition(":")
    if not (colon and port.isdigit()):
        name = called
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name.lower() in hosts
    return True

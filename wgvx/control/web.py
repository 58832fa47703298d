"""A node's listener for HTTP: metrics for Prometheus, probes, and a status page. It only tells.

Whoever reaches the port may ask, and may be anybody: connections, what is read of one, and how long
it may take are bounded, and however often it is asked, the node is looked at once a second.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from wgvx.config import EndpointName
from wgvx.control import metrics, status, status_page
from wgvx.control.http import LONGEST_HEAD, Exchange, Refused, Response
from wgvx.node import Node
from wgvx.stack.client import Client
from wgvx.stack.listening import Listener

REQUEST_SECONDS: Final = 5.0
"""For a whole request to come."""
ANSWER_SECONDS: Final = 10.0
"""For the answer to be made and to go."""
FRESH_SECONDS: Final = 1.0
"""So long what was found out last is still told."""

MAX_CONNECTIONS: Final = 64
"""One that takes its time to ask, to read the answer or to go gives way to another."""

NOT_FOUND: Final = Response(
    b"there is /metrics, /livez, /readyz and /\n", status=HTTPStatus.NOT_FOUND
)


class Web:
    """Serves until closed. ``where`` may name a host, "" is every address. Raises OSError."""

    def __init__(self, node: Node, where: EndpointName) -> None:
        self.ready = False
        """Whether the node serves: what /readyz says."""
        self._node = node
        self._started = time.time()
        self._hosts = {"localhost", where.host.lower()} if where.is_loopback else None
        self._pages: dict[str, Callable[[], Awaitable[Response]]] = {
            "/": _page,
            "/status.json": _Kept(self._status),
            "/metrics": _Kept(self._metrics),
            "/livez": _alive,
            "/readyz": self._readiness,
        }
        self._listener = Listener(where, self._serve, most=MAX_CONNECTIONS)

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    async def _serve(self, client: Client) -> None:
        exchange = Exchange(self._hosts)
        async with client.request(REQUEST_SECONDS):
            head = await client.until(b"\r\n\r\n", LONGEST_HEAD)
        async with asyncio.timeout(ANSWER_SECONDS):
            response = await self._response(exchange, head)
            client.gives_way = True  # It is for it to read now.
            for part in exchange.answer(response):
                await client.send(part)

    async def _response(self, exchange: Exchange, head: bytes) -> Response:
        try:
            page = self._pages.get(exchange.path(head))
        except Refused as refused:
            return refused.response
        if page is None:
            return NOT_FOUND
        return await page()

    # --- what there is -----------------------------------------------------------------------

    async def _metrics(self) -> Response:
        shown = status.show(self._node, prefixes=False)
        found = metrics.metrics(shown, cpu_seconds=time.process_time(), started=self._started)
        parts = []
        for metric in found:
            parts.append(metrics.expose(metric))
            await asyncio.sleep(0)  # Packets have their turn.
        return Response(b"".join(parts), metrics.CONTENT_TYPE)

    async def _status(self) -> Response:
        shown = status.show(self._node, prefixes=False)
        told = status_page.data(shown, now=time.time(), started=self._started)
        return _json(told)

    async def _readiness(self) -> Response:
        if self.ready and not self._node.is_ending:
            return Response(b"ready\n")
        why = b"ending\n" if self._node.is_ending else b"starting\n"
        return Response(why, status=HTTPStatus.SERVICE_UNAVAILABLE)


class _Kept:
    """What it takes a while to find out, for all who ask within a second."""

    def __init__(self, make: Callable[[], Awaitable[Response]]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._made: Response | None = None
        self._until = 0.0

    async def __call__(self) -> Response:
        async with self._lock:
            now = time.monotonic()
            if self._made is None or now >= self._until:
                self._made = await self._make()
                self._until = now + FRESH_SECONDS
            return self._made


async def _page() -> Response:
    return status_page.PAGE


async def _alive() -> Response:
    return Response(b"alive\n")


def _json(value: Any) -> Response:
    return Response(json.dumps(value).encode(), "application/json")

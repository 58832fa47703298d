"""Endpoint names to addresses, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

from wgvx.config import EndpointName
from wgvx.underlay import endpoint_from_sockaddr
from wgvx.wireguard.sessions import Endpoint

Address = tuple[str, int] | tuple[str, int, int, int]
Answer = list[Address]


async def resolve(name: EndpointName, families: frozenset[int]) -> Endpoint | None:
    """The first address of a name in a family that we have a socket in; None where there is none.

    ``families`` are address lengths, 4 and 16. A name server that does not answer blocks a thread
    of its own, which the end of the process does not wait for; an address needs none.
    """
    try:
        if is_numeric(name):
            addresses = _lookup(name)
        else:
            addresses = await _in_thread(lambda: _lookup(name))
    except OSError:
        return None
    for address in addresses:
        endpoint = endpoint_from_sockaddr(address)
        if len(endpoint.ip) in families:
            return endpoint
    return None


def is_numeric(name: EndpointName) -> bool:
    """Whether there is nothing to look up: an address, with or without a scope."""
    try:
        ip_address(name.host.partition("%")[0])
    except ValueError:
        return False
    return True


def _lookup(name: EndpointName) -> Answer:
    try:
        found = socket.getaddrinfo(name.host, name.port, type=socket.SOCK_DGRAM)
    except UnicodeError as error:
        raise OSError(str(error)) from None
    return [cast("Address", address) for _, _, _, _, address in found]


async def _in_thread(work: Callable[[], Answer]) -> Answer:
    """Run blocking work in a daemon thread: the loop's own executor is joined at exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def finish(result: Answer | None, error: OSError | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result or [])

    def run() -> None:
        result: Answer | None = None
        failure: OSError | None = None
        try:
            result = work()
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(finish, result, failure)

    try:
        threading.Thread(target=run, name="resolver", daemon=True).start()
    except RuntimeError as error:  # No more threads now: the next try may have one.
        raise OSError(str(error)) from None
    return await future

"""Names of hosts to addresses, as this machine knows them, off the event loop."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from wgvx.config import EndpointName
from wgvx.threads import in_thread

Place = tuple[socket.AddressFamily, Any]
"""A family, and the address of a socket in it."""


async def look_up(name: EndpointName, *, passive: bool = False) -> list[Place]:
    """All addresses of a name, at least one; ``passive``: to bind to. Raises OSError.

    A name server that does not answer blocks a thread of its own, which the end of the process does
    not wait for; an address needs none.
    """
    if is_numeric(name):
        return look_up_now(name, passive=passive)
    return await in_thread(lambda: look_up_now(name, passive=passive), "resolver")


def look_up_now(name: EndpointName, *, passive: bool = False) -> list[Place]:
    """The same, for as long as it takes."""
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = socket.getaddrinfo(
            name.host or None, name.port, type=socket.SOCK_DGRAM, flags=flags
        )
    except UnicodeError as error:
        raise OSError(str(error)) from None
    return [(family, address) for family, *_, address in found]


def is_numeric(name: EndpointName) -> bool:
    """Whether there is nothing to look up: an address, with or without a scope."""
    try:
        ip_address(name.host.partition("%")[0])
    except ValueError:
        return False
    return True

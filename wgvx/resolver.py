"""Endpoint names to addresses, off the event loop."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import cast

from wgvx.config import EndpointName
from wgvx.threads import in_thread
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
            addresses = await in_thread(lambda: _lookup(name), "resolver")
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

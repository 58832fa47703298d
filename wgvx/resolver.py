"""Endpoint names to addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wgvx.config import EndpointName
from wgvx.hosts import Place, look_up
from wgvx.underlay import endpoint_from_sockaddr
from wgvx.wireguard.sessions import Endpoint


async def resolve(
    name: EndpointName,
    families: frozenset[int],
    look_up: Callable[[EndpointName], Awaitable[list[Place]]] = look_up,
) -> Endpoint | None:
    """The first address of a name in a family that we have a socket in; None where there is none.

    ``families`` are address lengths, 4 and 16; ``look_up`` finds all addresses.
    """
    try:
        places = await look_up(name)
    except OSError:
        return None
    for _, address in places:
        endpoint = endpoint_from_sockaddr(address)
        if len(endpoint.ip) in families:
            return endpoint
    return None

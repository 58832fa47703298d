"""Places that attachments take for themselves, each of which can be had once."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Generic, NamedTuple, TypeVar

from wgvx.config.model import (
    AttachConfig,
    DgramAttach,
    EndpointName,
    SocketAddress,
    StackAttach,
    StreamAttach,
)

T = TypeVar("T")


class Place(NamedTuple):
    """Where an attachment listens."""

    key: str
    """That says so."""
    realm: str
    """tcp or udp of the host, its paths, or the overlay: elsewhere the same place is another."""
    address: SocketAddress


def places_of(attach: AttachConfig) -> Iterator[Place]:
    """All that an attachment listens at."""
    match attach:
        case StreamAttach(address=address, listen=True):
            yield Place("listen", _realm(address, "tcp"), address)
        case DgramAttach(local=local):
            yield Place("local", _realm(local, "udp"), local)
        case StackAttach():
            for key, proxy in (("socks5", attach.socks5), ("http", attach.http)):
                if proxy is not None:
                    yield Place(key, "tcp", proxy)
            for forward in attach.forward:
                yield Place("forward", "tcp", forward.listen)
            for forward in attach.reverse:
                yield Place("reverse", "overlay", forward.listen)


def _realm(address: SocketAddress, protocol: str) -> str:
    return protocol if isinstance(address, EndpointName) else "paths"


class Taken(Generic[T]):
    """The places that are taken, and by whom. No name is looked up: two that mean one address are
    found out when a node starts."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, object], list[tuple[str, T]]] = {}

    def take(self, place: Place, owner: T) -> T | None:
        """Who is in the way; None where the place is the owner's now."""
        host = ""
        where: object = place.address
        if isinstance(place.address, EndpointName):
            host, where = place.address.host, place.address.port
        owners = self._owners.setdefault((place.realm, where), [])
        for other, before in owners:
            if _meet(host, other):
                return before
        owners.append((host, owner))
        return None


def _meet(one: str, other: str) -> bool:
    """Whether a socket at one host keeps another from being at the other, with the same port."""
    if "" in (one, other) or one.lower() == other.lower():
        return True
    try:
        mine, theirs = ip_address(one), ip_address(other)
    except ValueError:
        return False
    anywhere = mine.is_unspecified or theirs.is_unspecified
    return mine.version == theirs.version and (anywhere or mine == theirs)

"""A SOCKS5 proxy into the overlay, RFC 1928: CONNECT and UDP ASSOCIATE, no authentication."""

from __future__ import annotations

import asyncio
import errno
import logging
import struct
from enum import IntEnum
from ipaddress import ip_address
from typing import Final

from wgvx.config import Address
from wgvx.stack.client import Client, ClientError
from wgvx.stack.dialer import Dialer
from wgvx.stack.names import NameNotFoundError
from wgvx.stack.udp_relay import UdpRelay

log = logging.getLogger(__name__)

VERSION: Final = 5
NO_AUTHENTICATION: Final = 0
NONE_ACCEPTABLE: Final = 0xFF
CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
IPV4, NAME, IPV6 = 1, 3, 4
PATIENCE: Final = 10.0
"""Seconds that a client has for its request."""

NOWHERE: Final = ip_address("0.0.0.0")


class Reply(IntEnum):
    """RFC 1928, section 6."""

    SUCCEEDED = 0
    FAILURE = 1
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8


def reply_for(error: OSError) -> Reply:
    """What is said of a connection that could not be made."""
    if isinstance(error, NameNotFoundError | TimeoutError) or error.errno == errno.EHOSTUNREACH:
        return Reply.HOST_UNREACHABLE
    if error.errno == errno.ECONNREFUSED:
        return Reply.REFUSED
    return Reply.NETWORK_UNREACHABLE if error.errno == errno.ENETUNREACH else Reply.FAILURE


def packed_reply(reply: Reply, address: Address = NOWHERE, port: int = 0) -> bytes:
    """A reply message; 10 or 22 bytes."""
    kind = IPV4 if address.version == 4 else IPV6
    return bytes((VERSION, reply, 0, kind)) + address.packed + struct.pack("!H", port)


async def read_destination(client: Client, kind: int) -> tuple[str, int] | None:
    """Host and port of an address of this type; None for a type that there is not. Raises
    ClientError.
    """
    match kind:
        case 1 | 4:
            host = str(ip_address(await client.exactly(4 if kind == IPV4 else 16)))
        case 3:
            (length,) = await client.exactly(1)
            host = (await client.exactly(length)).decode("ascii", "replace")
        case _:
            return None
    return host, int.from_bytes(await client.exactly(2), "big")


class Socks5:
    """Serves one client after the other."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    async def serve(self, client: Client) -> None:
        """From the greeting to the end, or until the connection is joined. Raises ClientError and
        TimeoutError.
        """
        async with client.request(PATIENCE):
            if not await _greet(client):
                return
            version, command, _, kind = await client.exactly(4)
            if version != VERSION:
                raise ClientError("no request of SOCKS 5")
            destination = await read_destination(client, kind)
        if destination is None:
            await client.send(packed_reply(Reply.ADDRESS_NOT_SUPPORTED))
        elif command == CONNECT:
            await self._connect(client, *destination)
        elif command == UDP_ASSOCIATE:
            await self._associate(client, destination[1])
        else:
            await client.send(packed_reply(Reply.COMMAND_NOT_SUPPORTED))

    async def _connect(self, client: Client, host: str, port: int) -> None:
        try:
            connection = await self._dialer.connect(host, port)
        except OSError as error:
            log.debug("SOCKS5 to %s port %d: %s", host, port, error)
            await client.send(packed_reply(reply_for(error)))
            return
        with connection:
            await client.send(packed_reply(Reply.SUCCEEDED))
            connection.join(client.socket, client.rest())

    async def _associate(self, client: Client, port: int) -> None:
        """Until the client closes its connection, RFC 1928, section 7, or has not used it for long;
        a keepalive finds out whether it is still there."""
        try:
            here, there = client.socket.getsockname(), client.socket.getpeername()
            relay = UdpRelay(self._dialer, here[0], there[0], port)
        except OSError as error:
            log.debug("UDP ASSOCIATE: %s", error)
            await client.send(packed_reply(Reply.FAILURE))
            return
        try:
            await client.send(packed_reply(Reply.SUCCEEDED, ip_address(here[0]), relay.port))
            gone = asyncio.ensure_future(client.gone())
            try:
                await asyncio.wait((gone, relay.expired), return_when=asyncio.FIRST_COMPLETED)
            finally:
                gone.cancel()
        finally:
            relay.close()


async def _greet(client: Client) -> bool:
    version, count = await client.exactly(2)
    if version != VERSION:
        raise ClientError("no SOCKS 5")
    methods = await client.exactly(count)
    accepted = NO_AUTHENTICATION in methods
    await client.send(bytes((VERSION, NO_AUTHENTICATION if accepted else NONE_ACCEPTABLE)))
    return accepted

"""Names to addresses, for those who reach the overlay through the stack: asked over the overlay
where there are resolvers on it, else of the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype

from wgvx.config import Address, EndpointName
from wgvx.hosts import Place
from wgvx.stack.client import Client, ClientError
from wgvx.stack.glue import Stack

PORT: Final = 53
PATIENCE: Final = 3.0
"""Seconds for a resolver to answer before the next one is asked."""

HOST_PATIENCE: Final = 20.0
"""Seconds for the host's own resolver."""

ROUNDS: Final = 2
"""How often the resolvers are asked, all in turn."""

UDP_PAYLOAD: Final = 1232
"""What an answer may have, EDNS: it fits into any IPv6 path."""

MAX_ANSWER: Final = 4096
"""Bytes of an answer over TCP that are looked at: to read one of 64 KiB can take a second."""

MAX_NAME: Final = 253
MAX_ADDRESSES: Final = 16

Question = dns.message.QueryMessage


class NameNotFoundError(OSError):
    """There is no address of that name; errno is ENOENT, or EAGAIN where nobody answered."""


HostLookUp = Callable[[EndpointName], Awaitable[list[Place]]]
"""As :func:`wgvx.hosts.look_up`."""


class Names:
    """``servers``: resolvers on the overlay, asked in turn; none: the host's, by way of
    ``look_up``."""

    def __init__(self, stack: Stack, servers: Sequence[Address], look_up: HostLookUp) -> None:
        self._stack = stack
        self._servers = servers
        self._look_up = look_up
        if servers:
            # Later on a node may be unable to open files.
            dns.rdata.load_all_types()  # type: ignore[no-untyped-call]
        self._versions = [version for version in (6, 4) if stack.has_family(version)]

    async def addresses(self, host: str) -> list[Address]:
        """Those of a name, or an address as it is written; of the stack's families. Raises
        NameNotFoundError.
        """
        with contextlib.suppress(ValueError):
            return [ip_address(host)]
        if not host.isprintable() or not 1 <= len(host) <= MAX_NAME + 1:
            raise NameNotFoundError(errno.ENOENT, "no name that there can be")
        found = await (self._ask_all(host) if self._servers else self._ask_host(host))
        if not found:
            raise NameNotFoundError(errno.ENOENT, f"{host} has no address of our families")
        return found[:MAX_ADDRESSES]

    async def _ask_host(self, host: str) -> list[Address]:
        try:
            async with asyncio.timeout(HOST_PATIENCE):
                places = await self._look_up(EndpointName(host, 0))
        except OSError as error:
            raise NameNotFoundError(errno.ENOENT, f"{host}: {error.strerror or error}") from None
        found = [str(address[0]).partition("%")[0] for _, address in places]
        return [one for one in map(ip_address, found) if one.version in self._versions]

    async def _ask_all(self, host: str) -> list[Address]:
        try:
            name = dns.name.from_text(host)
        except (dns.exception.DNSException, UnicodeError):
            raise NameNotFoundError(errno.ENOENT, "no name that there can be") from None
        kinds = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}
        answers = await asyncio.gather(
            *(self._ask(name, kinds[version]) for version in self._versions),
            return_exceptions=True,
        )
        found: list[Address] = []
        refusals = []
        for answer in answers:
            if isinstance(answer, NameNotFoundError):
                refusals.append(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += answer
        if not found and refusals:
            raise refusals[0]
        return found

    # --- one question ------------------------------------------------------------------------

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> list[Address]:
        """The addresses that the first resolver to answer tells. Raises NameNotFoundError."""
        for _ in range(ROUNDS):
            for server in self._servers:
                question = dns.message.make_query(name, kind, use_edns=0, payload=UDP_PAYLOAD)
                try:
                    async with asyncio.timeout(PATIENCE):
                        answer = await self._exchange(question, server)
                except (OSError, ClientError, dns.exception.DNSException):
                    continue  # TimeoutError among them: the next one may know.
                if answer.rcode() == dns.rcode.NXDOMAIN:
                    raise NameNotFoundError(errno.ENOENT, f"there is no {name}")
                if answer.rcode() == dns.rcode.NOERROR:
                    return _addresses(answer)
        raise NameNotFoundError(errno.EAGAIN, f"no resolver knows {name}")

    async def _exchange(self, question: Question, server: Address) -> dns.message.Message:
        answer = await self._by_udp(question, server)
        if answer.flags & dns.flags.TC:
            return await self._by_tcp(question, server)
        return answer

    async def _by_udp(self, question: Question, server: Address) -> dns.message.Message:
        future: asyncio.Future[dns.message.Message] = asyncio.get_running_loop().create_future()

        wire = question.to_wire()

        def received(data: bytes, address: Address, port: int) -> None:
            if address != server or port != PORT or future.done():
                return
            if data[:2] != wire[:2] or len(data) > UDP_PAYLOAD:
                return
            with contextlib.suppress(dns.exception.DNSException):
                answer = dns.message.from_wire(
                    data, ignore_trailing=True, raise_on_truncation=False
                )
                if question.is_response(answer):
                    future.set_result(answer)

        udp = self._stack.open_udp(received)
        try:
            udp.send(wire, server, PORT)
            return await future
        finally:
            udp.close()

    async def _by_tcp(self, question: Question, server: Address) -> dns.message.Message:
        ours, theirs = socket.socketpair()
        with Client(ours) as client, theirs:
            for end in (ours, theirs):
                end.setblocking(False)
            with await self._stack.connect(server, PORT) as connection:
                connection.join(theirs)
            wire = question.to_wire()
            await client.send(len(wire).to_bytes(2, "big") + wire)
            length = int.from_bytes(await client.exactly(2), "big")
            if length > MAX_ANSWER:
                raise ClientError("more than is taken")
            answer = dns.message.from_wire(await client.exactly(length))
        if not question.is_response(answer):
            raise dns.exception.FormError
        return answer


def _addresses(answer: dns.message.Message) -> list[Address]:
    """Those at the end of the chain of aliases that begins with the question."""
    if not isinstance(answer, dns.message.QueryMessage):
        return []
    try:
        chain = answer.resolve_chaining()
    except dns.exception.DNSException:
        return []
    return [ip_address(row.to_text()) for row in chain.answer or ()]

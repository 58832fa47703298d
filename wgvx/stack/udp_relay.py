"""SOCKS5's UDP ASSOCIATE: datagrams between one client and whatever of the overlay it names.

Each begins with a header that says where to, or where from; RFC 1928, section 7.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import OrderedDict
from ipaddress import ip_address
from typing import Any, ClassVar, Final

from wgvx.config import Address, EndpointName
from wgvx.stack.dialer import Dialer
from wgvx.stack.listening import host_sockets

IPV4, NAME, IPV6 = 1, 3, 4
MAX_RELAYS: Final = 64
"""Clients at a time: UDP sockets of the stack are left for others."""

SETTLED: Final = 10.0
"""Seconds without a datagram after which a relay makes room for another client's, the longest idle
one first."""

IDLE: Final = 600.0
"""Seconds without a datagram of the client's or for it, after which its relay ends."""

MAX_LOOKUPS: Final = 16
"""Names looked up at a time for one client; datagrams to more are lost."""

KNOWN_NAMES: Final = 64
"""Names whose address one client's datagrams find without asking again."""

TURN: Final = 64
"""Datagrams of a client in one turn of the loop."""

Destination = tuple[str, int]


class MalformedDatagramError(ValueError):
    """No datagram that this protocol has, or one of several fragments, which we do not take."""


def parse(datagram: bytes) -> tuple[Destination, bytes]:
    """Where to, and what. Raises MalformedDatagramError."""
    if len(datagram) < 4 or datagram[2] != 0:
        raise MalformedDatagramError
    kind, at = datagram[3], 4
    if kind == NAME:
        length = datagram[4] if len(datagram) > 4 else 0
        at = 5
    else:
        length = {IPV4: 4, IPV6: 16}.get(kind, 0)
    end = at + length
    if not length or len(datagram) < end + 2:
        raise MalformedDatagramError
    raw = datagram[at:end]
    host = raw.decode("ascii", "replace") if kind == NAME else str(ip_address(raw))
    return (host, int.from_bytes(datagram[end : end + 2], "big")), datagram[end + 2 :]


def build(address: Address, port: int, data: bytes) -> bytes:
    """A datagram for the client, from there."""
    kind = IPV4 if address.version == 4 else IPV6
    return bytes((0, 0, 0, kind)) + address.packed + struct.pack("!H", port) + data


class UdpRelay:
    """For the client at ``client``, through a socket at ``here``, both the host's; ``port`` is the
    one that the client says it sends from, 0 where it does not. Raises OSError.
    """

    _open: ClassVar[set[UdpRelay]] = set()

    def __init__(self, dialer: Dialer, here: str, client: str, port: int) -> None:
        self._dialer = dialer
        self._loop = asyncio.get_running_loop()
        if len(UdpRelay._open) >= MAX_RELAYS:
            self._make_room()
        self._client, self._client_port = client, port
        self._peer: Any = None
        self._names: OrderedDict[str, Address] = OrderedDict()
        self._lookups: set[asyncio.Task[None]] = set()
        (self._socket,) = host_sockets(EndpointName(here, 0), socket.SOCK_DGRAM)
        try:
            self._udp = dialer.stack.open_udp(self._to_client)
        except OSError:
            self._socket.close()
            raise
        self.expired: asyncio.Future[None] = self._loop.create_future()
        """Done once it was idle for too long."""
        self._used_at = self._loop.time()
        self._timer = self._loop.call_later(IDLE, self._check)
        self._loop.add_reader(self._socket.fileno(), self._from_client)
        UdpRelay._open.add(self)

    @property
    def port(self) -> int:
        """Where the client is to send to."""
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Idempotent."""
        if self not in UdpRelay._open:
            return
        UdpRelay._open.remove(self)
        self._timer.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._udp.close()
        for lookup in self._lookups:
            lookup.cancel()

    def _make_room(self) -> None:
        """Raises OSError."""
        oldest = min(UdpRelay._open, key=lambda relay: relay._used_at)
        if self._loop.time() - oldest._used_at < SETTLED:
            self._dialer.stack.refused["relays_full"] += 1
            raise OSError("too many UDP relays")
        oldest._expire()

    def _check(self) -> None:
        left = self._used_at + IDLE - self._loop.time()
        if left <= 0:
            self._expire()
        else:
            self._timer = self._loop.call_later(left, self._check)

    def _expire(self) -> None:
        self._dialer.stack.refused["relays_idle"] += 1
        self.close()
        if not self.expired.done():
            self.expired.set_result(None)

    # --- from the client ---------------------------------------------------------------------

    def _from_client(self) -> None:
        for _ in range(TURN):
            try:
                datagram, sender = self._socket.recvfrom(65535)
            except OSError:
                return
            if not self._is_client(sender):
                continue
            try:
                (host, port), data = parse(datagram)
            except MalformedDatagramError:
                continue
            self._used_at = self._loop.time()
            self._send(host, port, data)

    def _is_client(self, sender: Any) -> bool:
        """The first to send from the client's address is it, and nobody else from then on."""
        if self._peer is None:
            if sender[0] != self._client or self._client_port not in (0, sender[1]):
                return False
            self._peer = sender
        return bool(sender == self._peer)

    def _send(self, host: str, port: int, data: bytes) -> None:
        try:
            address: Address | None = ip_address(host)
        except ValueError:
            address = self._names.get(host)
        if address is not None:
            self._send_to(address, port, data)
        elif len(self._lookups) < MAX_LOOKUPS:
            task = self._loop.create_task(self._look_up(host, port, data))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def _look_up(self, host: str, port: int, data: bytes) -> None:
        try:
            address, *_ = await self._dialer.names.addresses(host)
        except OSError:
            return
        self._names[host] = address
        if len(self._names) > KNOWN_NAMES:
            self._names.popitem(last=False)
        self._send_to(address, port, data)

    def _send_to(self, address: Address, port: int, data: bytes) -> None:
        try:
            self._udp.send(data, address, port)
        except OSError:
            return  # No route: lost, as UDP may be.

    # --- to the client -----------------------------------------------------------------------

    def _to_client(self, data: bytes, address: Address, port: int) -> None:
        if self._peer is None:
            return
        self._used_at = self._loop.time()
        try:
            self._socket.sendto(build(address, port, data), self._peer)
        except OSError:
            return  # Its socket is full, or gone.

"""The stack itself: lwIP and its glue in C (native/stack/), as an event loop sees them.

Bytes of connections do not pass through Python: a connection is joined to a host's socket, and that
is the last that is heard of it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from wgvx.config import Address, Interface

CONNECT_PATIENCE: Final = 20.0
"""Seconds that the far end has to answer."""

NEIGHBOUR_PATIENCE: Final = 3.0
"""Seconds that the station on the link has to tell its MAC."""

MAX_DATAGRAM: Final = 65535

MAX_CONNECTIONS: Final = 2048
"""At a time; half of them may be such as came from the overlay, and an eighth from one address."""

MEND: Final = "build it with `./dev lwip` in a checkout of wgvx, or install wgvx with WGVX_LWIP=DIR"


class StackMissing(Exception):  # noqa: N818 - what is so, not an error of the program
    """There is no stack to be had; the message is for the user."""


def _load() -> tuple[Any, Any]:
    try:
        from wgvx import _stack  # type: ignore[attr-defined]
    except ImportError as error:
        raise StackMissing(f"wgvx was built without lwIP, its TCP/IP stack: {MEND}") from error
    return _stack.ffi, _stack.lib


class Connection:
    """One that was made or has come, until it is joined or dropped."""

    def __init__(self, stack: Stack, number: int) -> None:
        self._stack: Stack | None = stack
        self._number = number

    def join(self, sock: socket.socket, first: bytes = b"") -> None:
        """Let the bytes pass between it and this stream socket, which becomes the stack's;
        ``first`` was read from it already. Raises ConnectionResetError where the connection is
        gone.
        """
        stack, self._stack = self._stack, None
        if stack is None or not stack.join(self._number, sock.fileno(), first):
            raise ConnectionResetError(errno.ECONNRESET, "the connection is gone")
        sock.detach()

    def close(self) -> None:
        """Reset it, where it is not joined. Idempotent."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.drop(self._number)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Accept = Callable[[Connection, Address], None]


class UdpSocket:
    """A socket of the stack. ``received(data, address, port)`` is called for each datagram."""

    def __init__(
        self, stack: Stack, number: int, received: Callable[[bytes, Address, int], None]
    ) -> None:
        self._stack, self.number, self.received = stack, number, received

    def send(self, data: bytes, address: Address, port: int) -> None:
        """Send a datagram; one that cannot be sent is lost, as on any way. Raises OSError where
        there is no route."""
        self._stack.send(self.number, data, address, port)

    def close(self) -> None:
        self._stack.close_udp(self.number)


class Stack:
    """``frames`` is a descriptor of a bare frame a message, ``failed`` is called with a sentence
    when lwIP found itself in a state that cannot be. Raises StackMissing.
    """

    def __init__(
        self,
        frames: int,
        *,
        mac: bytes,
        mtu: int,
        addresses: Iterable[Interface],
        gateways: Iterable[Address] = (),
        connections: int = MAX_CONNECTIONS,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ffi, self._lib = _load()
        self._loop = asyncio.get_running_loop()
        self._failed = failed
        self._addresses, self._gateways = tuple(addresses), tuple(gateways)
        self._connecting: dict[int, asyncio.Future[None]] = {}
        self._listeners: dict[int, Accept] = {}
        self._udp: dict[int, UdpSocket] = {}
        self.refused: Counter[str] = Counter()
        """What the ways into it have refused or given up, by reason."""
        self._event = self._ffi.new("stack_event *")
        self._buffer = bytearray(MAX_DATAGRAM)
        self._stack = self._lib.stack_open(frames, mac, mtu, connections)
        if self._stack == self._ffi.NULL:
            raise StackMissing("there is a stack in this process already, and lwIP is but one")
        for address in self._addresses:
            packed = self._packed(address.ip, 0)
            if not self._lib.stack_add_address(self._stack, packed, address.network.prefixlen):
                self._close()
                raise StackMissing(f"lwIP has no room for the address {address}")
        for gateway in self._gateways:
            self._lib.stack_set_gateway(self._stack, self._packed(gateway, 0))
        self._descriptor: int = self._lib.stack_descriptor(self._stack)
        self._lib.stack_start(self._stack)
        self._loop.add_reader(self._descriptor, self._serve)

    def close(self) -> None:
        """Reset all connections. Idempotent."""
        if self._stack is not None:
            self._loop.remove_reader(self._descriptor)
            self._close()
            for future in self._connecting.values():
                if not future.done():
                    future.set_exception(OSError(errno.ENETDOWN, "the stack is closed"))

    def _close(self) -> None:
        self._lib.stack_close(self._stack)
        self._stack = None

    def reset(self, most: int) -> int:
        """Reset so many connections, while frames still pass; how many are left."""
        return int(self._lib.stack_reset(self._stack, most)) if self._stack is not None else 0

    @property
    def connections(self) -> int:
        """How many there are."""
        return int(self._lib.stack_connections(self._stack)) if self._stack is not None else 0

    def counters(self) -> dict[str, int]:
        """What was refused or given up, by reason: those of stack.h, and of ``refused``."""
        if self._stack is None:
            return dict(self.refused)
        counts = self._ffi.new("stack_counts *")
        self._lib.stack_count(self._stack, counts)
        names = [name for name, _ in self._ffi.typeof("stack_counts").fields]
        return {name: int(getattr(counts, name)) for name in names} | self.refused

    def has_family(self, version: int) -> bool:
        """Whether it has an address of IPv4 or IPv6."""
        return any(address.version == version for address in self._addresses)

    # --- what the loop calls -----------------------------------------------------------------

    def _serve(self) -> None:
        self._lib.stack_serve(self._stack)
        event = self._event
        while self._stack is not None and self._lib.stack_take_event(self._stack, event):
            self._tell(event.what, event.id)
        if self._stack is None:
            return
        failure = self._lib.stack_failure(self._stack)
        if failure != self._ffi.NULL:
            text = self._ffi.string(failure).decode(errors="replace")
            self.close()
            self._failed(text)

    def _tell(self, what: int, number: int) -> None:
        lib = self._lib
        if what == lib.STACK_ACCEPTED:
            accept = self._listeners.get(self._event.listener)
            connection = Connection(self, number)
            if accept is None:
                connection.close()
            else:
                accept(connection, _address(self._ffi, self._event.remote))
        elif what == lib.STACK_RECEIVED:
            self._receive(number)
        else:
            future = self._connecting.get(number)
            if future is None or future.done():
                return
            if what == lib.STACK_CONNECTED:
                future.set_result(None)
            elif what == lib.STACK_REFUSED:
                future.set_exception(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
            else:
                future.set_exception(_nobody())

    # --- TCP ---------------------------------------------------------------------------------

    async def connect(self, address: Address, port: int) -> Connection:
        """A connection to there. Raises OSError: ConnectionRefusedError, TimeoutError, and of errno
        ENETUNREACH (no route), EHOSTUNREACH (nobody answers) or ENOBUFS (too many connections).
        """
        address = self.check_route(address)
        packed = self._packed(address, port)
        number = self._lib.stack_connect(self._stack, packed)
        if not number:
            raise OSError(errno.ENOBUFS, "too many connections")
        future = self._connecting[number] = self._loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_PATIENCE):
                await asyncio.wait((future,), timeout=NEIGHBOUR_PATIENCE)
                if not future.done() and not self._lib.stack_answers(self._open(), packed):
                    raise OSError(
                        errno.EHOSTUNREACH,
                        f"{address} cannot be reached: nobody answers on the link",
                    )
                await future
        except TimeoutError:
            self.drop(number)
            raise _nobody() from None
        except BaseException:
            self.drop(number)
            raise
        finally:
            del self._connecting[number]
        return Connection(self, number)

    def listen(self, address: Address | None, port: int, accept: Accept) -> int:
        """Connections to this port, of one address or of all, are given to ``accept``. Returns a
        number for :meth:`unlisten`. Raises OSError where the port is taken.
        """
        packed = self._ffi.new("stack_address *", {"port": port})
        if address is not None:
            packed = self._packed(address, port)
        number = int(self._lib.stack_listen(self._open(), packed))
        if not number:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self._listeners[number] = accept
        return number

    def unlisten(self, number: int) -> None:
        if self._listeners.pop(number, None) is not None and self._stack is not None:
            self._lib.stack_unlisten(self._stack, number)

    def join(self, number: int, descriptor: int, first: bytes) -> bool:
        """See :meth:`Connection.join`."""
        return self._stack is not None and bool(
            self._lib.stack_join(self._stack, number, descriptor, first, len(first))
        )

    def drop(self, number: int) -> None:
        """See :meth:`Connection.close`."""
        if self._stack is not None:
            self._lib.stack_drop(self._stack, number)

    # --- UDP ---------------------------------------------------------------------------------

    def open_udp(self, received: Callable[[bytes, Address, int], None]) -> UdpSocket:
        """Raises OSError where there are too many."""
        number = int(self._lib.stack_udp_open(self._open()))
        if not number:
            raise OSError(errno.ENOBUFS, "too many UDP sockets")
        self._udp[number] = UdpSocket(self, number, received)
        return self._udp[number]

    def send(self, number: int, data: bytes, address: Address, port: int) -> None:
        """See :meth:`UdpSocket.send`."""
        address = self.check_route(address)
        packed = self._packed(address, port)
        self._lib.stack_udp_send(self._stack, number, packed, data, len(data))

    def close_udp(self, number: int) -> None:
        """See :meth:`UdpSocket.close`."""
        if self._udp.pop(number, None) is not None and self._stack is not None:
            self._lib.stack_udp_close(self._stack, number)

    def _receive(self, number: int) -> None:
        udp = self._udp.get(number)
        where = self._ffi.new("stack_address *")
        buffer = self._ffi.from_buffer(self._buffer)
        while udp is not None and self._stack is not None:
            length = self._lib.stack_udp_take(self._stack, number, where, buffer, len(self._buffer))
            if length < 0:
                return
            udp.received(bytes(self._buffer[:length]), _address(self._ffi, where), where.port)

    # --- addresses ---------------------------------------------------------------------------

    def check_route(self, address: Address) -> Address:
        """The address itself, of IPv4 where it was IPv4 in IPv6. Raises OSError, ENETUNREACH, where
        there is no way to it.
        """
        self._open()
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_loopback or address.is_multicast or address.is_unspecified:
            raise OSError(errno.ENETUNREACH, f"{address} is not on the overlay")
        if any(address == own.ip for own in self._addresses):
            raise OSError(errno.EHOSTUNREACH, f"{address} is the stack's own")
        on_link = any(address in own.network for own in self._addresses)
        gateway = any(gateway.version == address.version for gateway in self._gateways)
        if on_link or gateway or (address.is_link_local and address.version == 6):
            return address
        raise OSError(errno.ENETUNREACH, f"no route to {address}")

    def _open(self) -> Any:
        if self._stack is None:
            raise OSError(errno.ENETDOWN, "the stack is closed")
        return self._stack

    def _packed(self, address: Address, port: int) -> Any:
        return self._ffi.new(
            "stack_address *",
            {"length": len(address.packed), "ip": address.packed.ljust(16, b"\0"), "port": port},
        )


def _address(ffi: Any, packed: Any) -> Address:
    found = ip_address(bytes(ffi.buffer(packed.ip))[: packed.length])
    assert isinstance(found, IPv4Address | IPv6Address)
    return found


def _nobody() -> OSError:
    return TimeoutError(errno.ETIMEDOUT, "nobody answers")

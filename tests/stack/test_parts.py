"""What needs no stack: parsers, and what is said where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any

import dns.message
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wgvx import hosts
from wgvx.config import EndpointName, StackAttach
from wgvx.hosts import Place
from wgvx.ports.errors import PortError
from wgvx.ports.stack import StackPort
from wgvx.stack import http_connect, udp_relay
from wgvx.stack.client import Client, ClientError
from wgvx.stack.glue import Connection, UdpSocket
from wgvx.stack.http_connect import HttpConnect
from wgvx.stack.names import NameNotFoundError, Names
from wgvx.stack.socks5 import Reply, Socks5, packed_reply, reply_for

ADDRESSES = st.ip_addresses()
PORTS = st.integers(0, 65535)


def test_without_lwip_the_port_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wgvx._stack", None)
    monkeypatch.delattr("wgvx._stack", raising=False)
    attach = StackAttach(
        "apps", bytes(6), (ip_interface("10.0.0.9/24"),), (), (), None, None, (), ()
    )

    async def test() -> None:
        port = StackPort(attach, 1350)
        with pytest.raises(
            PortError, match=r"stack apps: wgvx was built without lwIP.*\./dev lwip"
        ):
            port.open(lambda: None)
        assert port.fileno() == -1
        assert not port.write(b"")
        assert port.read() is None

    asyncio.run(test())


@pytest.mark.usefixtures("built")
def test_a_port_that_is_taken_names_the_option_for_another() -> None:
    async def test(where: EndpointName) -> None:
        address = (ip_interface("10.0.0.9/24"),)
        attach = StackAttach("apps", bytes(6), address, (), (), where, None, (), ())
        with pytest.raises(PortError) as caught:
            StackPort(attach, 1350).open(lambda: None)
        assert str(caught.value) == (
            f"stack apps: socks5 {where}: Address already in use, by another node perhaps: choose "
            "another with --socks5 HOST:PORT, or in the file"
        )

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        asyncio.run(test(EndpointName(*other.getsockname())))


@given(ADDRESSES, PORTS, st.binary(max_size=100))
def test_a_datagram_says_where_it_goes(
    address: IPv4Address | IPv6Address, port: int, data: bytes
) -> None:
    datagram = udp_relay.build(address, port, data)
    (host, parsed_port), rest = udp_relay.parse(datagram)
    assert (ip_address(host), parsed_port, rest) == (address, port, data)


@given(st.binary(max_size=60))
@example(b"\0\0\0\3\0\0\0")
@example(b"\0\0\0\3\5abc")
@example(b"\0\0\1\1abcdefgh")
def test_any_other_datagram_is_malformed(datagram: bytes) -> None:
    try:
        (host, port), data = udp_relay.parse(datagram)
    except udp_relay.MalformedDatagramError:
        return
    assert datagram[2] == 0
    assert datagram[3] in (1, 3, 4)
    assert datagram.endswith(port.to_bytes(2, "big") + data)
    assert host


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("CONNECT web.example:443 HTTP/1.1\r\n", ("web.example", 443)),
        ("CONNECT 10.0.0.2:80 HTTP/1.0\r\n", ("10.0.0.2", 80)),
        ("CONNECT [fd00:a::2]:80 HTTP/1.1\r\n", ("fd00:a::2", 80)),
    ],
)
def test_a_connect_names_its_target(line: str, target: tuple[str, int]) -> None:
    assert http_connect.parse(f"{line}Host: other\r\n\r\n".encode()) == target


@given(st.binary(max_size=80).map(lambda data: b"CONNECT " + data) | st.binary(max_size=80))
@example(b"CONNECT a:99999 HTTP/1.1\r\n\r\n")
@example(b"CONNECT [:]:1 HTTP/1.1\r\n\r\n")
def test_any_other_request_is_refused(request_: bytes) -> None:
    try:
        host, port = http_connect.parse(request_)
    except http_connect.BadRequestError:
        return
    assert host
    assert 1 <= port <= 65535


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), Reply.REFUSED),
        (TimeoutError(errno.ETIMEDOUT, ""), Reply.HOST_UNREACHABLE),
        (NameNotFoundError(errno.ENOENT, ""), Reply.HOST_UNREACHABLE),
        (OSError(errno.ENETUNREACH, ""), Reply.NETWORK_UNREACHABLE),
        (OSError(errno.ENOBUFS, ""), Reply.FAILURE),
    ],
)
def test_each_error_has_its_reply(error: OSError, reply: Reply) -> None:
    assert reply_for(error) is reply
    assert packed_reply(reply, ip_address("::1"), 80) == bytes((5, reply, 0, 4)) + bytes(15) + (
        b"\1\0\x50"
    )


# --- clients that say anything ---------------------------------------------------------------


class Nowhere:
    """In the place of a dialer: nobody is reached, and what was wanted is noted."""

    def __init__(self) -> None:
        self.names = self.stack = self
        self.wanted: list[tuple[str, int]] = []

    async def connect(self, host: str, port: int) -> Connection:
        self.wanted.append((host, port))
        raise OSError(errno.ENETUNREACH, "nowhere")

    def open_udp(self, _: object) -> UdpSocket:
        raise OSError(errno.ENOBUFS, "too many")


def answered(proxy: type[Socks5 | HttpConnect], said: bytes) -> tuple[bytes, Nowhere]:
    """What a proxy answers to a client that says so and no more."""
    dialer = Nowhere()

    async def scenario() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
        accepted.setblocking(False)
        with client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            with Client(accepted) as one, contextlib.suppress(ClientError):
                await proxy(dialer).serve(one)  # type: ignore[arg-type]
            answer = b""
            with contextlib.suppress(ConnectionResetError):  # Not all of it was read.
                while data := client.recv(4096):
                    answer += data
        return answer

    return asyncio.run(scenario()), dialer


GREETING = b"\5\1\0"
REQUESTS = [GREETING + request for request in (b"\5\1\0\1", b"\5\1\0\3", b"\5\3\0\4")]
BEGINNINGS = st.sampled_from((b"", b"\5", GREETING, *REQUESTS))


@given(BEGINNINGS, st.binary(max_size=300))
@example(b"\5\1\0\5\1\0\3", b"\0\0\x50")
@example(b"\5\1\0\5\1\0\3", b"\3a\0b\0\x50")
@example(b"\5\xff", bytes(255))
@example(b"\5\0", b"\5\1\0\1\1\1\1\1\1\1")
@settings(max_examples=60)
def test_socks5_takes_anything(begins: bytes, more: bytes) -> None:
    answer, dialer = answered(Socks5, begins + more)
    # A choice of a method, and a reply.
    assert answer in (b"", b"\5\xff") or answer[:2] == b"\5\0"
    assert len(answer) in (0, 2, 12)
    assert bool(dialer.wanted) == (answer[3:4] == bytes((Reply.NETWORK_UNREACHABLE,)))


@given(st.sampled_from((b"", b"CONNECT ", b"CONNECT a:1 HTTP/1.1\r\n")), st.binary(max_size=300))
@example(b"CONNECT a:1 HTTP/1.1\r\n", b"\r\n")
@example(b"CONNECT ", b"[" * 200 + b"\r\n\r\n")
@example(b"CONNECT ", b"a" * 9000)
@settings(max_examples=60)
def test_http_takes_anything(begins: bytes, more: bytes) -> None:
    answer, dialer = answered(HttpConnect, begins + more)
    assert not answer or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ", b"HTTP/1.1 502 "))
    assert bool(dialer.wanted) == answer.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("host", ["a\0b", "a\nb", "", "x" * 255, "..", "\ufffd", "\x7f"])
@pytest.mark.parametrize("servers", [(), (ip_address("10.0.0.53"),)])
def test_names_that_cannot_be_are_asked_of_nobody(host: str, servers: tuple[Any, ...]) -> None:
    async def ask(name: EndpointName) -> list[Place]:
        return hosts.look_up_now(name)

    names = Names(Resolver(lambda _: []), servers, ask)  # type: ignore[arg-type]
    with pytest.raises(NameNotFoundError):
        asyncio.run(names.addresses(host))


# --- a hostile resolver ----------------------------------------------------------------------

RESOLVER = ip_address("10.0.0.53")


class Resolver:
    """In the place of a stack: what it is asked is answered by what ``answers`` makes of it."""

    def __init__(self, answers: Callable[[bytes], list[bytes]]) -> None:
        self._answers = answers
        self._received: Callable[[bytes, object, int], None] = lambda *_: None
        self.open = 0

    def has_family(self, version: int) -> bool:
        return version == 4

    def open_udp(self, received: Callable[[bytes, object, int], None]) -> Resolver:
        self._received = received
        self.open += 1
        return self

    def send(self, data: bytes, *_: object) -> None:
        for answer in self._answers(data):
            asyncio.get_running_loop().call_soon(self._received, answer, RESOLVER, 53)

    async def connect(self, *_: object) -> Connection:
        raise OSError(errno.ECONNREFUSED, "not over TCP")

    def close(self) -> None:
        self.open -= 1

    def look_up(self, host: str) -> list[Any]:
        names = Names(self, (RESOLVER,), None)  # type: ignore[arg-type]
        return asyncio.run(names.addresses(host))


def right(question: bytes, rows: Sequence[str] = ("far.test. 60 IN A 10.0.0.2",)) -> bytes:
    answer = dns.message.make_response(dns.message.from_wire(question))
    for row in rows:
        name, ttl, *rest = row.split(" ")
        answer.answer.append(dns.rrset.from_text(name, int(ttl), *rest))
    return answer.to_wire()


def looped(question: bytes) -> bytes:
    """Its answer's name is a pointer to itself."""
    head = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
    asked = question[12:26]
    return head + asked + struct.pack("!H", 0xC000 | 26) + b"\0\1\0\1\0\0\0\1\0\4\1\2\3\4"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda wire: wire[:0],
        lambda wire: wire[:1],
        lambda wire: wire[:11],
        lambda wire: b"\xff\xff" + right(wire)[2:],
        lambda wire: right(wire) + bytes(65000),
        lambda wire: wire,
        looped,
        lambda wire: right(wire).replace(b"far", b"bad"),
        lambda wire: right(wire)[:-3],
    ],
    ids=["nothing", "a byte", "no header", "number", "giant", "itself", "loop", "name", "cut"],
)
def test_an_answer_that_is_none_is_not_taken_for_one(wrong: Callable[[bytes], bytes]) -> None:
    resolver = Resolver(lambda wire: [*(wrong(wire) for _ in range(50)), right(wire)])
    assert resolver.look_up("far.test") == [ip_address("10.0.0.2")]
    assert resolver.open == 0


@pytest.mark.parametrize(
    "rows",
    [
        [],
        ["far.test. 60 IN CNAME far.test."],
        ["far.test. 60 IN CNAME a.test.", "a.test. 60 IN CNAME far.test."],
        [f"{n}.test. 60 IN CNAME {n + 1}.test." for n in range(30)],
        ["other.test. 60 IN A 10.0.0.2"],
    ],
)
def test_an_answer_that_leads_nowhere_is_no_address(rows: list[str]) -> None:
    resolver = Resolver(lambda wire: [right(wire, rows)])
    with pytest.raises(NameNotFoundError):
        resolver.look_up("far.test")
    assert resolver.open == 0


@given(st.data())
def test_whatever_a_resolver_says_is_an_address_or_an_error(data: st.DataObject) -> None:
    def changed(wire: bytes) -> list[bytes]:
        answer = bytearray(right(wire))
        for _ in range(data.draw(st.integers(1, 6))):
            answer[data.draw(st.integers(2, len(answer) - 1))] = data.draw(st.integers(0, 255))
        return [bytes(answer), right(wire)]

    with contextlib.suppress(NameNotFoundError):
        Resolver(changed).look_up("far.test")

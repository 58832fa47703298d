"""What needs no stack: parsers, and what is said where there is none."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wgvx.config import EndpointName, StackAttach
from wgvx.ports.errors import PortError
from wgvx.ports.stack import StackPort
from wgvx.stack import http_connect, udp_relay
from wgvx.stack.names import NameNotFoundError
from wgvx.stack.socks5 import Reply, packed_reply, reply_for

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

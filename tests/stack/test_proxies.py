"""The proxies, spoken to by curl and byte by byte; names are told by the host, or by a resolver on
the overlay.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.netns.lab import Lab
from tests.stack.rig import (
    FAR,
    NOBODY,
    PATIENCE,
    Rig,
    digest,
    loopback,
    noise,
    run,
)
from wgvx.stack import udp_relay

BODY = noise(3_000_000)
NAME = "far.test"
ALIAS = "alias.test"


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY))
    writer.write(BODY)
    await writer.drain()
    writer.close()


async def download(rig: Rig, *options: str) -> str:
    """The digest of what curl gets; raises where it fails."""
    target = rig.far.folder / "download"
    done = await rig.run(
        *("curl", "--silent", "--show-error", "--noproxy", "", "--max-time", "15"),
        *("--output", str(target), *options),
        inside=False,
    )
    assert done.returncode == 0, done.stderr
    return digest(target.read_bytes())


# --- names -----------------------------------------------------------------------------------


class Resolver:
    """A toy name server on the far end: NAME has both addresses, ALIAS leads to it."""

    def __init__(self, rig: Rig) -> None:
        self.asked: list[tuple[str, str]] = []
        self.truncates = False
        self.rig = rig

    def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        question = dns.message.from_wire(wire)
        (one,) = question.question
        name = str(one.name).rstrip(".")
        self.asked.append((name, "udp" if udp else "tcp"))
        answer = dns.message.make_response(question)
        kind = dns.rdatatype.to_text(one.rdtype)
        if name == "silent.test":
            return None
        if name == ALIAS:
            answer.answer.append(dns.rrset.from_text(one.name, 60, "IN", "CNAME", f"{NAME}."))
        elif name != NAME:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer.to_wire()
        if self.truncates and udp:
            answer.flags |= dns.flags.TC
            answer.answer = []
            return answer.to_wire()
        address = FAR[4 if kind == "A" else 6]
        answer.answer.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", kind, address))
        return answer.to_wire()

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(length), udp=False) or b""
        writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    @contextmanager
    def serving(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        with self.rig.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((FAR[4], 53))
            sock.setblocking(False)

            def ready() -> None:
                wire, sender = sock.recvfrom(4096)
                # A liar's answer comes first: of another question's number.
                sock.sendto(b"\xff\xff" + wire[2:], sender)
                answer = self.answer(wire, udp=True)
                if answer is not None:
                    sock.sendto(answer, sender)

            loop.add_reader(sock.fileno(), ready)
            yield
            loop.remove_reader(sock.fileno())


@asynccontextmanager
async def resolving(rig: Rig) -> AsyncIterator[Resolver]:
    resolver = Resolver(rig)
    with resolver.serving():
        async with rig.server(resolver.serve_tcp, port=53):
            yield resolver


# --- downloads -------------------------------------------------------------------------------


def test_curl_downloads_through_each_proxy_by_address(lab: Lab) -> None:
    socks5, http = loopback(), loopback()

    async def test(rig: Rig) -> None:
        for family in (4, 6):
            async with rig.server(serve_http, family) as port:
                host = f"[{FAR[6]}]" if family == 6 else FAR[4]
                url = f"http://{host}:{port}/"
                assert await download(rig, "--socks5", str(socks5), url) == digest(BODY)
                options = ("--proxytunnel", "--proxy", f"http://{http}")
                assert await download(rig, *options, url) == digest(BODY)
        await rig.settled()

    run(lab, test, socks5=socks5, http=http)


def test_names_are_asked_over_the_overlay(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    socks5, http = loopback(), loopback()
    monkeypatch.setattr("wgvx.stack.names.PATIENCE", 0.3)

    async def test(rig: Rig) -> None:
        async with resolving(rig) as resolver, rig.server(serve_http) as port:
            for name in (NAME, ALIAS):
                url = f"http://{name}:{port}/"
                assert await download(rig, "--socks5-hostname", str(socks5), url) == digest(BODY)
            resolver.truncates = True
            options = ("--proxytunnel", "--proxy", f"http://{http}")
            assert await download(rig, *options, f"http://{NAME}:{port}/") == digest(BODY)
            assert (NAME, "tcp") in resolver.asked
            begun = len(resolver.asked)
            reply = await socks(socks5.port, named("nowhere.test", port))
            assert reply[1] == 4
            reply = await socks(socks5.port, named("silent.test", port))
            assert reply[1] == 4
            asked = [name for name, _ in resolver.asked[begun:]]
            assert asked.count("silent.test") == 4  # both families, two rounds

    # The first resolver is nobody: the next one is asked then.
    run(lab, test, socks5=socks5, http=http, dns=(ip_address(NOBODY[4]), ip_address(FAR[4])))


def test_without_resolvers_the_hosts_is_asked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    socks5 = loopback()
    really = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host == NAME:
            return really(FAR[4], port, *args, **more)
        return really(host, port, *args, **more)

    async def test(rig: Rig) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        async with rig.server(serve_http) as port:
            url = f"http://{NAME}:{port}/"
            assert await download(rig, "--socks5-hostname", str(socks5), url) == digest(BODY)

    run(lab, test, socks5=socks5)


# --- byte by byte ----------------------------------------------------------------------------


def addressed(address: str, port: int, command: int = 1) -> bytes:
    packed = ip_address(address).packed
    kind = 1 if len(packed) == 4 else 4
    return bytes((5, command, 0, kind)) + packed + struct.pack("!H", port)


def named(name: str, port: int) -> bytes:
    return bytes((5, 1, 0, 3, len(name))) + name.encode() + struct.pack("!H", port)


async def socks(port: int, request: bytes) -> bytes:
    """The reply, and all after it, until the proxy closes."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\5\2\1\0" + request)  # the greeting and the request in one
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()
    assert answer[:2] == b"\5\0"
    return answer[2:]


def test_socks5_says_what_went_wrong(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    socks5 = loopback()
    monkeypatch.setattr("wgvx.stack.glue.CONNECT_PATIENCE", 0.2)

    async def test(_: Rig) -> None:
        for request, code in (
            (addressed(FAR[4], 9), 5),
            (addressed(FAR[6], 9), 5),
            (addressed(NOBODY[4], 9), 4),
            (addressed("10.9.9.9", 9), 3),
            (addressed("127.0.0.1", 9), 3),
            (addressed(FAR[4], 9, command=2), 7),
            (b"\5\1\0\2" + bytes(6), 8),
            (named("..", 9), 4),
        ):
            reply = await socks(socks5.port, request)
            assert reply == bytes((5, code, 0, 1)) + bytes(6), request

    run(lab, test, socks5=socks5)


def test_socks5_passes_on_what_was_sent_before_its_reply(lab: Lab) -> None:
    socks5 = loopback()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(-1))
        writer.close()

    async def test(rig: Rig) -> None:
        async with rig.server(echo) as port:
            reply = await socks(socks5.port, addressed(FAR[4], port) + b"at once")
            assert reply == bytes((5, 0, 0, 1)) + bytes(6) + b"at once"

    run(lab, test, socks5=socks5)


@pytest.mark.parametrize("greeting", [b"\4\1\0\x50", b"\5\1\2", b"GET / HTTP/1.0\r\n\r\n"])
def test_socks5_has_nothing_for_others(lab: Lab, greeting: bytes) -> None:
    socks5 = loopback()

    async def test(_: Rig) -> None:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", socks5.port)
            writer.write(greeting)
            writer.write_eof()
            assert await reader.read(-1) == (b"\5\xff" if greeting[0] == 5 else b"")
            writer.close()

    run(lab, test, socks5=socks5)


def test_who_says_nothing_is_not_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    socks5, http = loopback(), loopback()
    monkeypatch.setattr("wgvx.stack.socks5.PATIENCE", 0.05)
    monkeypatch.setattr("wgvx.stack.http_connect.PATIENCE", 0.05)

    async def test(_: Rig) -> None:
        async with asyncio.timeout(PATIENCE):
            for where in (socks5, http):
                reader, writer = await asyncio.open_connection("127.0.0.1", where.port)
                assert await reader.read(-1) == b""
                writer.close()

    run(lab, test, socks5=socks5, http=http)


async def http_says(port: int, request: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read(-1)
        writer.close()
    return answer


def test_http_says_what_went_wrong(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    http = loopback()
    monkeypatch.setattr("wgvx.stack.glue.CONNECT_PATIENCE", 0.2)

    async def test(_: Rig) -> None:
        for line, status in (
            (f"CONNECT {FAR[4]}:9 HTTP/1.1", 502),
            (f"CONNECT [{FAR[6]}]:9 HTTP/1.1", 502),
            (f"CONNECT {NOBODY[4]}:9 HTTP/1.1", 504),
            ("GET http://10.0.0.2/ HTTP/1.1", 405),
            ("CONNECT 10.0.0.2 HTTP/1.1", 400),
            ("CONNECT 10.0.0.2:0 HTTP/1.1", 400),
            ("nonsense", 400),
        ):
            answer = await http_says(http.port, f"{line}\r\nHost: x\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 %d " % status), line
        assert await http_says(http.port, b"CONNECT " + bytes(9000)) == b""

    run(lab, test, http=http)


# --- UDP -------------------------------------------------------------------------------------


@asynccontextmanager
async def association(port: int) -> AsyncIterator[tuple[socket.socket, asyncio.StreamWriter]]:
    """A socket joined to a relay, and the connection that keeps it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\5\1\0" + addressed("0.0.0.0", 0, command=3))
    assert await reader.readexactly(6) == b"\5\0\5\0\0\1"
    there, number = struct.unpack("!4sH", await reader.readexactly(6))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((socket.inet_ntoa(there), number))
        yield sock, writer
    writer.close()


@contextmanager
def udp_echo(rig: Rig, family: int) -> Iterator[int]:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    loop = asyncio.get_running_loop()
    with rig.far.socket(kind, socket.SOCK_DGRAM) as sock:
        sock.bind((FAR[family], 0))
        sock.setblocking(False)

        def ready() -> None:
            data, sender = sock.recvfrom(65535)
            sock.sendto(data[::-1], sender)

        loop.add_reader(sock.fileno(), ready)
        yield sock.getsockname()[1]
        loop.remove_reader(sock.fileno())


async def exchange(sock: socket.socket, datagram: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        await loop.sock_sendall(sock, datagram)
        return await loop.sock_recv(sock, 65535)


def test_datagrams_pass_both_ways(lab: Lab) -> None:
    socks5 = loopback()

    async def test(rig: Rig) -> None:
        async with association(socks5.port) as (sock, writer), resolving(rig):
            for family in (4, 6):
                with udp_echo(rig, family) as port:
                    head = b"\0\0\0" + addressed(FAR[family], port)[3:]
                    for size in (1, 1200, 4000):
                        data = noise(size, size)
                        assert await exchange(sock, head + data) == head + data[::-1]
                    if family == 4:
                        continue
                    # What is no datagram of the protocol, a fragment, or to nowhere is lost.
                    for lost in (
                        b"",
                        b"\0\0\0",
                        b"\0\0\1" + head[3:] + b"x",
                        b"\0\0\0\7abcdef",
                        b"\0\0\0" + addressed("10.9.9.9", 9)[3:] + b"x",
                    ):
                        sock.send(lost)
                    named_head = b"\0\0\0" + named(NAME, port)[3:]
                    assert (await exchange(sock, named_head + b"by name"))[-7:] == b"eman yb"
            writer.close()
            await rig.until(lambda: not udp_relay.UdpRelay._open)

    run(lab, test, socks5=socks5, dns=(ip_address(FAR[4]),))


def test_a_relay_is_its_clients_alone(lab: Lab) -> None:
    socks5 = loopback()

    async def test(rig: Rig) -> None:
        with udp_echo(rig, 4) as port:
            async with association(socks5.port) as (sock, _):
                head = b"\0\0\0" + addressed(FAR[4], port)[3:]
                assert await exchange(sock, head + b"ab") == head + b"ba"
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.setblocking(False)
                    other.sendto(head + b"stranger", sock.getpeername())
                    assert await exchange(sock, head + b"cd") == head + b"dc"
                    with pytest.raises(BlockingIOError):
                        other.recv(100)

    run(lab, test, socks5=socks5)

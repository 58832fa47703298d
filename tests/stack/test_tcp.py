"""The stack against the kernel's: pings, bytes of forwards both ways, ends and resets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from ipaddress import ip_address

import pytest

from tests.netns.lab import Lab
from tests.stack.rig import (
    FAR,
    MAC,
    NOBODY,
    OURS,
    PATIENCE,
    Rig,
    digest,
    forward_to,
    free_port,
    loopback,
    noise,
    run,
)
from wgvx.config import EndpointName, Forward

SIZE = 6_000_000


@pytest.mark.parametrize("family", [4, 6])
def test_it_answers_pings_small_and_in_fragments(lab: Lab, family: int) -> None:
    async def test(rig: Rig) -> None:
        for size in ("56", "4000"):
            done = await rig.run("ping", "-n", "-c", "2", "-i", "0.2", "-s", size, OURS[family])
            assert "2 received" in done.stdout, done.stdout
        neighbours = await rig.run("ip", "neighbour", "show", OURS[family])
        assert MAC.hex(":") in neighbours.stdout

    run(lab, test)


@pytest.mark.parametrize("family", [4, 6])
def test_bytes_pass_both_ways_and_each_end_closes_for_itself(lab: Lab, family: int) -> None:
    port = free_port()
    forward = forward_to(port, family)
    there, back = noise(SIZE, 1), noise(SIZE, 2)
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nothing is sent before all has come: the client's end has closed by then.
        got.append(await reader.read(-1))
        writer.write(back)
        await writer.drain()
        writer.close()

    async def test(rig: Rig) -> None:
        async with rig.server(serve, family, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.listen.port)
            writer.write(there)
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                answer = await reader.read(-1)
            writer.close()
            assert digest(got[0]) == digest(there)
            assert digest(answer) == digest(back)
            await rig.settled()

    run(lab, test, forward=(forward,))


def test_what_is_lost_is_sent_again(lab: Lab) -> None:
    port = free_port()
    forward = forward_to(port)
    data = noise(1_000_000)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(-1))
        await writer.drain()
        writer.close()

    async def test(rig: Rig) -> None:
        rig.lose(0.03, seed=1)
        async with rig.server(echo, port=port), asyncio.timeout(2 * PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.listen.port)
            writer.write(data)
            writer.write_eof()
            assert digest(await reader.read(-1)) == digest(data)
            writer.close()

    run(lab, test, forward=(forward,))


def test_both_directions_at_once_by_several(lab: Lab) -> None:
    port = free_port()
    forward = forward_to(port)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def one(number: int) -> None:
        data = noise(700_000, number)
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.listen.port)

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        assert digest(await reader.read(-1)) == digest(data)
        await sending
        writer.close()

    async def test(rig: Rig) -> None:
        async with rig.server(echo, port=port), asyncio.timeout(PATIENCE):
            await asyncio.gather(*(one(number) for number in range(8)))
            await rig.settled()

    run(lab, test, forward=(forward,))


def test_who_does_not_read_is_not_sent_more_than_fits(lab: Lab) -> None:
    port = free_port()
    forward = forward_to(port)
    data = noise(8_000_000)
    go = asyncio.Event()
    got: list[bytes] = []

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        got.append(await reader.read(-1))
        writer.close()

    async def test(rig: Rig) -> None:
        async with rig.server(slow, port=port):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                client.connect(("127.0.0.1", forward.listen.port))
                client.setblocking(False)
                sent, still = 0, 0
                while still < 40 and sent < len(data):
                    with contextlib.suppress(BlockingIOError):
                        sent += client.send(data[sent : sent + 65536])
                        still = 0
                    still += 1
                    await asyncio.sleep(0.005)
                assert sent < len(data), "everything was taken, and nobody has read"
                go.set()
                await asyncio.get_running_loop().sock_sendall(client, data[sent:])
                client.shutdown(socket.SHUT_WR)
                await rig.until(lambda: got)
                assert digest(got[0]) == digest(data)

    run(lab, test, forward=(forward,))


def test_a_reset_passes_on_in_both_directions(lab: Lab) -> None:
    port = free_port()
    forward = forward_to(port)
    lost = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1) == b"r":
            reset(writer)
            return
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        lost.set()

    def reset(writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def test(rig: Rig) -> None:
        async with rig.server(serve, port=port), asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.listen.port)
            writer.write(b"r")
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)
            writer.close()
            _, writer = await asyncio.open_connection("127.0.0.1", forward.listen.port)
            writer.write(b"x")
            await asyncio.sleep(0.05)
            reset(writer)
            await lost.wait()
            await rig.settled()

    run(lab, test, forward=(forward,))


def test_a_remote_forward_leads_from_the_overlay_to_the_host(lab: Lab) -> None:
    there, back = noise(2_000_000, 1), noise(2_000_000, 2)
    target = free_port()
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readexactly(len(there)))
        writer.write(back)
        await writer.drain()
        writer.close()

    async def test(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        async with rig.server(serve, port=target, inside=False), asyncio.timeout(PATIENCE):
            for family in (4, 6):
                kind = socket.AF_INET if family == 4 else socket.AF_INET6
                with rig.far.socket(kind, socket.SOCK_STREAM) as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, (OURS[family], 80))
                    reader, writer = await asyncio.open_connection(sock=sock)
                    writer.write(there)
                    assert digest(await reader.read(-1)) == digest(back)
                    assert digest(got.pop()) == digest(there)
                    writer.close()
            await rig.settled()

    run(lab, test, reverse=(Forward(EndpointName("", 80), EndpointName("localhost", target)),))


def test_a_remote_forward_to_nobody_is_a_reset_and_other_ports_refuse(lab: Lab) -> None:
    async def test(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            with rig.far.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, (OURS[4], 80))
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 1)
            with rig.far.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                with pytest.raises(ConnectionRefusedError):
                    await loop.sock_connect(sock, (OURS[4], 81))
            await rig.settled()

    run(lab, test, reverse=(Forward(EndpointName(OURS[4], 80), loopback()),))


def test_errors_of_connections_are_told_apart(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgvx.stack.glue.CONNECT_PATIENCE", 0.6)
    monkeypatch.setattr("wgvx.stack.glue.NEIGHBOUR_PATIENCE", 0.2)

    async def test(rig: Rig) -> None:
        stack = rig.port._stack
        assert stack is not None
        for family in (4, 6):
            begun = time.monotonic()
            with pytest.raises(ConnectionRefusedError):
                await stack.connect(ip_address(FAR[family]), 9)
            assert time.monotonic() - begun < 0.2
            with pytest.raises(OSError, match="nobody answers on the link") as raised:
                await stack.connect(ip_address(NOBODY[family]), 9)
            assert raised.value.errno == errno.EHOSTUNREACH
        for text in ("10.0.1.1", "fd00:b::1", "127.0.0.1", "224.0.0.1", "::", "::ffff:127.0.0.1"):
            with pytest.raises(OSError, match=r"no route|not on the overlay"):
                await stack.connect(ip_address(text), 9)
        with pytest.raises(OSError, match="the stack's own"):
            await stack.connect(ip_address(OURS[4]), 9)
        rig.cut()
        for family in (4, 6):
            with pytest.raises(TimeoutError):
                await stack.connect(ip_address(FAR[family]), 9)
        assert stack.connections == 0

    run(lab, test)


def test_a_gateway_leads_beyond_the_link(lab: Lab) -> None:
    port = free_port()
    beyond = {4: "198.51.100.1", 6: "2001:db8:1::1"}
    forwards = tuple(forward_to(port, host=beyond[family]) for family in (4, 6))

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"beyond")
        writer.close()

    async def test(rig: Rig) -> None:
        sock = rig.far.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.bind(("::", port))
        await rig.run("ip", "address", "add", f"{beyond[4]}/32", "dev", "lo")
        await rig.run("ip", "address", "add", f"{beyond[6]}/128", "dev", "lo", "nodad")
        server = await asyncio.start_server(serve, sock=sock)
        async with server, asyncio.timeout(PATIENCE):
            for forward in forwards:
                reader, writer = await asyncio.open_connection("127.0.0.1", forward.listen.port)
                assert await reader.read(-1) == b"beyond"
                writer.close()

    gateways = tuple(ip_address(FAR[family]) for family in (4, 6))
    run(lab, test, forward=forwards, gateways=gateways)

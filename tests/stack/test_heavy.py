"""Many clients at once, slow ones, and no descriptor left: each is served or refused, and nothing
is left over.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Lab
from tests.stack.rig import FAR, OURS, PATIENCE, Rig, forward_to, free_port, loopback, run
from wgvx import accepting
from wgvx.config import EndpointName, Forward
from wgvx.stack import listening, udp_relay
from wgvx.stack.client import Client, ClientError
from wgvx.stack.listening import Listener

MANY = 1000


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Three are open for each connection: its client's, and of both servers."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MANY
    if limits[1] != resource.RLIM_INFINITY and limits[1] < wanted:
        pytest.skip(f"needs {wanted} descriptors: ulimit -Hn {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], wanted), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_connections_at_once_and_nothing_is_left(lab: Lab) -> None:
    socks5, port = loopback(), free_port()
    forward = forward_to(port)
    request = b"\5\1\0\5\1\0\1" + socket.inet_aton(FAR[4]) + struct.pack("!H", port)
    together = asyncio.Event()
    here = 0

    async def one(number: int) -> None:
        nonlocal here
        where = socks5.port if number % 2 else forward.listen.port
        reader, writer = await asyncio.open_connection("127.0.0.1", where)
        if number % 2:
            writer.write(request)
            assert (await reader.readexactly(12))[:4] == b"\5\0\5\0"
        data = number.to_bytes(2, "big") * 500
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        here += 1
        if here == MANY:
            together.set()
        await together.wait()
        writer.write_eof()
        assert await reader.read(-1) == b""
        writer.close()

    async def test(rig: Rig) -> None:
        stack = rig.port._stack
        assert stack is not None
        async with rig.server(echo, port=port), asyncio.timeout(3 * PATIENCE):
            before = descriptors()
            clients = [asyncio.create_task(one(number)) for number in range(MANY)]
            await together.wait()
            assert stack.connections == MANY
            await asyncio.gather(*clients)
            await rig.settled()
            await rig.until(lambda: descriptors() == before)
        assert not any(stack.counters().values())

    run(lab, test, socks5=socks5, forward=(forward,))


def test_connections_are_reset_at_an_orderly_end(lab: Lab) -> None:
    port = free_port()
    forward = forward_to(port)
    ends: Counter[str] = Counter()
    there = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal there
        there += 1
        try:
            await reader.read(-1)
        except ConnectionResetError:
            ends["there"] += 1
        writer.close()

    async def test(rig: Rig) -> None:
        async with rig.server(serve, port=port), asyncio.timeout(PATIENCE):
            clients = [
                await asyncio.open_connection("127.0.0.1", forward.listen.port) for _ in range(150)
            ]
            await rig.until(lambda: there == len(clients))
            await rig.port.goodbye()
            rig.port.close()
            for reader, writer in clients:
                with pytest.raises(ConnectionResetError):
                    await reader.read(-1)
                writer.close()
            await rig.until(lambda: ends["there"] == len(clients))

    run(lab, test, forward=(forward,))


# --- slow ones -------------------------------------------------------------------------------


def listening_at(
    serve: Callable[[Client], Awaitable[None]],
) -> tuple[Listener, EndpointName, Counter[str]]:
    where, refused = loopback(), Counter[str]()
    return Listener(where, serve, refused), where, refused


async def asks(client: Client) -> None:
    """A request is a line."""
    async with client.request(PATIENCE):
        line = await client.until(b"\n", 100)
    await client.send(line)


def test_clients_that_dawdle_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_CLIENTS", 8)

    async def test() -> None:
        listener, where, refused = listening_at(asks)
        slow = [await asyncio.open_connection(where.host, where.port) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"x")
        for _ in range(20):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            writer.write(b"hello\n")
            assert await reader.read(-1) == b"hello\n"
            writer.close()
        assert refused["clients_slow"] >= 12
        assert not refused["clients_full"]
        listener.close()
        for _, writer in slow:
            writer.close()

    before = descriptors()
    asyncio.run(asyncio.wait_for(test(), PATIENCE))
    assert descriptors() == before


def test_a_client_that_never_stops_is_not_all_that_the_loop_does() -> None:
    class Talking(Client):
        left = 1000

        async def _receive(self, most: int) -> bytes:
            """What is there already, as asyncio's own loop has it: without a turn of it."""
            self.left -= 1
            if not self.left:
                raise ClientError("it has closed")
            return bytes(most)

    async def test() -> None:
        ours, theirs = socket.socketpair()
        with theirs, Talking(ours) as client:
            talking = asyncio.create_task(client.gone())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not talking.done()
            talking.cancel()

    asyncio.run(asyncio.wait_for(test(), PATIENCE))


def test_a_client_that_is_gone_without_a_word_is_found_out() -> None:
    kept: list[tuple[int, int]] = []

    async def looked_at(client: Client) -> None:
        kept.append(
            (
                client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            )
        )

    async def test() -> None:
        listener, where, _ = listening_at(looked_at)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        assert await reader.read(-1) == b""
        writer.close()
        listener.close()

    asyncio.run(asyncio.wait_for(test(), PATIENCE))
    assert kept == [(1, 120)]


def test_those_who_have_asked_are_not_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_CLIENTS", 2)
    go = asyncio.Event()

    async def waits(client: Client) -> None:
        async with client.request(PATIENCE):
            await client.until(b"\n", 100)
        await go.wait()
        await client.send(b"served")

    async def test() -> None:
        listener, where, refused = listening_at(waits)
        clients = [await asyncio.open_connection(where.host, where.port) for _ in range(2)]
        for _, writer in clients:
            writer.write(b"\n")
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        assert await reader.read(-1) == b""
        writer.close()
        assert refused == {"clients_full": 1}
        go.set()
        for reader, writer in clients:
            assert await reader.read(-1) == b"served"
            writer.close()
        listener.close()

    asyncio.run(asyncio.wait_for(test(), PATIENCE))


def test_without_a_descriptor_left_slow_clients_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "REST", 2 * PATIENCE)  # Nobody has to wait.

    class Full(socket.socket):
        """Accepts nobody while ``left`` is not positive."""

        left = 1
        tries = 0

        def accept(self) -> tuple[socket.socket, object]:
            Full.tries += 1
            if Full.left <= 0:
                Full.left += 1  # What was given up in between is there for the next time.
                raise OSError(errno.EMFILE, "none is left")
            Full.left -= 1
            return super().accept()

    monkeypatch.setattr(socket, "socket", Full)

    async def test() -> None:
        listener, where, refused = listening_at(asks)
        _, slow = await asyncio.open_connection(where.host, where.port)
        await asyncio.sleep(0.02)
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"hello\n")
        assert await reader.read(-1) == b"hello\n"
        assert refused == {"descriptors_full": 1, "clients_slow": 1}
        assert Full.tries < 10
        for one in (slow, writer):
            one.close()
        listener.close()

    asyncio.run(asyncio.wait_for(test(), PATIENCE))


# --- silent ones -----------------------------------------------------------------------------


async def associate(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\5\1\0\5\3\0\1" + bytes(6))
    assert await reader.readexactly(2) == b"\5\0"
    return reader, writer, await reader.readexactly(10)


def test_relays_end_when_nobody_uses_them(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    socks5 = loopback()
    monkeypatch.setattr(udp_relay, "IDLE", 0.05)

    async def test(rig: Rig) -> None:
        stack = rig.port._stack
        assert stack is not None
        reader, writer, _ = await associate(socks5.port)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read(-1) == b""
        writer.close()
        assert stack.refused == {"relays_idle": 1}
        assert not udp_relay.UdpRelay._open

    run(lab, test, socks5=socks5)


def test_a_relay_that_is_idle_makes_room(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    socks5 = loopback()
    monkeypatch.setattr(udp_relay, "MAX_RELAYS", 2)

    async def test(rig: Rig) -> None:
        stack = rig.port._stack
        assert stack is not None
        async with asyncio.timeout(PATIENCE):
            held = [await associate(socks5.port) for _ in range(3)]
            assert [reply[1] for *_, reply in held] == [0, 0, 1]  # None has been idle for long.
            monkeypatch.setattr(udp_relay, "SETTLED", 0.0)
            held.append(await associate(socks5.port))
            assert held[3][2][1] == 0
            assert await held[0][0].read(-1) == b""
            assert stack.refused == {"relays_full": 1, "relays_idle": 1}
            for _, writer, _ in held:
                writer.close()
            await rig.until(lambda: not udp_relay.UdpRelay._open)

    run(lab, test, socks5=socks5)


def test_idle_connections_of_one_source_leave_room_for_others(lab: Lab) -> None:
    target = free_port()

    async def test(rig: Rig) -> None:
        stack = rig.port._stack
        assert stack is not None
        await rig.run("ip", "address", "add", "10.0.0.3/24", "dev", "blue0")
        loop = asyncio.get_running_loop()
        async with rig.server(echo, port=target, inside=False), asyncio.timeout(PATIENCE):
            idle = []
            for _ in range(300):
                sock = rig.far.socket(socket.AF_INET, socket.SOCK_STREAM)
                sock.setblocking(False)
                sock.bind((FAR[4], 0))
                await loop.sock_connect(sock, (OURS[4], 80))
                idle.append(sock)
            await rig.until(lambda: stack.counters()["connections_refused"] >= 300 - 256)
            with rig.far.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                sock.bind(("10.0.0.3", 0))
                await loop.sock_connect(sock, (OURS[4], 80))
                await loop.sock_sendall(sock, b"hello")
                assert await loop.sock_recv(sock, 100) == b"hello"
            for sock in idle:
                sock.close()
            await rig.settled()

    run(lab, test, reverse=(Forward(EndpointName("", 80), EndpointName("127.0.0.1", target)),))


def test_it_has_as_many_connections_as_descriptors_allow(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(1024, 1024)]
    monkeypatch.setattr("resource.getrlimit", lambda _: limits[-1])
    monkeypatch.setattr("resource.setrlimit", lambda _, wanted: limits.append(wanted))

    async def test(rig: Rig) -> None:
        assert rig.port._stack is not None

    run(lab, test)
    assert limits == [(1024, 1024), (1024, 1024)]
    limits[:] = [(1024, 4096)]
    run(lab, test)
    assert limits[-1] == (2304, 4096)

"""Connections that are taken, and the rest where there is no room for one more."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from wgvx import accepting
from wgvx.accepting import Acceptor

PATIENCE = 5.0


class Scarce(socket.socket):
    """A listener that finds no room for ``scarce`` times."""

    scarce = 5
    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.tries <= self.scarce:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_without_a_descriptor_left_it_waits_and_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accepting, "REST", 0.01)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[socket.socket] = loop.create_future()
        with Scarce() as listener, socket.socket() as client:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            acceptor = Acceptor(listener, taken.set_result)
            begun = loop.time()
            client.connect(listener.getsockname())
            async with asyncio.timeout(PATIENCE):
                (await taken).close()
            assert listener.tries == Scarce.scarce + 1
            assert loop.time() - begun >= 0.9 * Scarce.scarce * accepting.REST
            acceptor.close()
            acceptor.close()
            assert listener.fileno() < 0

    asyncio.run(test())


def test_closed_while_it_rests() -> None:
    async def test() -> None:
        with Scarce() as listener, socket.socket() as client:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            acceptor = Acceptor(listener, lambda sock: sock.close())
            client.connect(listener.getsockname())
            async with asyncio.timeout(PATIENCE):
                while not listener.tries:
                    await asyncio.sleep(0.001)
            acceptor.close()
            await asyncio.sleep(2 * accepting.REST)
            assert listener.tries == 1

    asyncio.run(test())

"""COMMAND of ``wgvx up NAME -- COMMAND``: started before the node confines itself, let go when that
is ready, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from wgvx.node import Node
from wgvx.ports.child import Child
from wgvx.ports.namespace import enter, exit_status

PATIENCE = 5.0
"""Seconds that COMMAND has to act on SIGTERM once the node ends without it."""

FAILED = 125


class Command:
    """Held before its first instruction. It has our session, terminal and process group, and not
    the confinement that we get later."""

    def __init__(self, node: Node, command: list[str], environment: dict[str, str]) -> None:
        """In the node's namespaces where it has some, with this ``environment``."""
        namespaces = node.namespace(None) or (-1, -1)
        self._node = node
        wait_fd, self._go_fd = os.pipe()
        try:
            self._process = enter(*namespaces, command, wait_fd=wait_fd, env=environment)
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(wait_fd)

    async def run(self) -> int:
        """Let it go and wait for its end, which is the node's; the exit status."""
        loop = asyncio.get_running_loop()
        # The terminal sends SIGINT to the whole foreground group: it is COMMAND's to act on.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, _passer(self._process, number))
        with contextlib.suppress(BrokenPipeError):  # It was ended from outside already.
            os.write(self._go_fd, b"\n")
        self._let_go()
        command_ended = asyncio.ensure_future(_end_of(self._process))
        node_ended = asyncio.ensure_future(self._node.ended())
        await asyncio.wait((command_ended, node_ended), return_when=asyncio.FIRST_COMPLETED)
        if not command_ended.done():
            self._process.terminate()
            await asyncio.wait((command_ended,), timeout=PATIENCE)
            if not command_ended.done():
                self._process.kill()
            await command_ended
            status = node_ended.result()
            return FAILED if status else exit_status(command_ended.result())
        node_ended.cancel()
        return exit_status(command_ended.result())

    def close(self) -> None:
        """If it was never let go, it never will be. Idempotent."""
        self._let_go()
        self._process.wait()

    def _let_go(self) -> None:
        if self._go_fd >= 0:
            os.close(self._go_fd)
            self._go_fd = -1


def _passer(process: Child, number: signal.Signals) -> Callable[[], None]:
    return lambda: process.send_signal(number)


async def _end_of(process: Child) -> int:
    """The return code of a process, without a thread that waits for it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = process.pidfd

    def on_end() -> None:
        loop.remove_reader(descriptor)
        ended.set_result(None)

    loop.add_reader(descriptor, on_end)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
    return process.wait()

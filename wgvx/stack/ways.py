"""All ways through one stack: its proxies and forwards, opened and closed together."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol

from wgvx.config import EndpointName, StackAttach
from wgvx.stack.dialer import Dialer
from wgvx.stack.forwards import LocalForward, RemoteForward
from wgvx.stack.glue import Stack
from wgvx.stack.http_connect import HttpConnect
from wgvx.stack.listening import Listener, Serve
from wgvx.stack.names import HostLookUp, Names
from wgvx.stack.socks5 import Socks5

OPTIONS: Final[Mapping[str, str]] = {
    "socks5": "--socks5 HOST:PORT",
    "http": "--http HOST:PORT",
    "forward": "-L HOST:PORT:HOST:PORT",
    "reverse": "-R PORT:HOST:PORT",
}
"""What says it on the command line, by key of the file."""


class Way(Protocol):
    def close(self) -> None:
        """Idempotent."""


class WayBlocked(Exception):  # noqa: N818 - what is so, not an error of the program
    """A port that cannot be had; the message is for the user."""


def open_ways(stack: Stack, attach: StackAttach, look_up: HostLookUp) -> list[Way]:
    """What the attachment asks for. Raises WayBlocked, and has opened nothing then."""
    dialer = Dialer(stack, Names(stack, attach.dns, look_up))
    opened: list[Way] = []

    def listen(key: str, where: EndpointName, serve: Serve) -> None:
        _open(opened, key, where, lambda: Listener(where, serve, stack.refused))

    try:
        if attach.socks5 is not None:
            listen("socks5", attach.socks5, Socks5(dialer).serve)
        if attach.http is not None:
            listen("http", attach.http, HttpConnect(dialer).serve)
        for forward in attach.forward:
            listen("forward", forward.listen, LocalForward(dialer, forward.target).serve)
        for forward in attach.reverse:
            make = partial(RemoteForward, stack, forward, look_up)
            _open(opened, "reverse", forward.listen, make)
    except BaseException:
        for way in opened:
            way.close()
        raise
    return opened


def _open(opened: list[Way], key: str, where: EndpointName, make: Callable[[], Way]) -> None:
    try:
        opened.append(make())
    except OSError as error:
        why = f"{key} {where}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            why += f", by another node perhaps: choose another with {OPTIONS[key]}, or in the file"
        raise WayBlocked(why) from error

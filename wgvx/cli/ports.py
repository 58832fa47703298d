"""The ports of a network, for people: of a file, and of a node that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wgvx.cli import output
from wgvx.config import Forward, parse_local_forward, parse_remote_forward

MAXIMUM_LISTED = 8
"""Addresses of a stack, and its forwards, that are shown; --json has them all."""


def rows(port: Mapping[str, Any], state: str = "") -> Iterator[tuple[str, str]]:
    """Label and text, a row for the port and one for each way through it. ``port`` is as
    :func:`wgvx.config.describe.describe` says, with or without a "mac"; of a node that was started
    before an upgrade it may have no more than type and name. ``state`` comes last.
    """
    words = [port["name"]]
    if port.get("mac"):
        words.append(f"MAC {port['mac']}")
    if "address" in port:
        words.append(output.some(port["address"], MAXIMUM_LISTED))
    if "listen" in port:
        words.append(f"waits at {port['listen']}")
    if "connect" in port:
        words.append(f"calls at {port['connect']}")
    if "local" in port:
        words.append(f"from {port['local']} to {port['remote']}")
    yield port["type"], ", ".join([*words, state] if state else words)
    if "address" in port:
        yield from _ways(port)


def _ways(stack: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How it is reached, and what it reaches."""
    if stack["gateway"]:
        yield "  gateway", output.some(stack["gateway"], MAXIMUM_LISTED)
    dns = stack["dns"]
    yield "  names from", output.some(dns, MAXIMUM_LISTED) if dns else "this host's resolver"
    for label, key in (("SOCKS5", "socks5"), ("HTTP CONNECT", "http")):
        if stack[key] is not None:
            yield f"  {label}", f"waits at {stack[key]}"
    for text in stack["forward"]:
        yield "  forward", _leads(parse_local_forward(text), "here", "on the overlay")
    for text in stack["reverse"]:
        yield "  reverse", _leads(parse_remote_forward(text), "on the overlay", "here")


def _leads(forward: Forward, here: str, there: str) -> str:
    listen = forward.listen
    where = f"at {listen}" if listen.host else f"at port {listen.port} {here}"
    return f"waits {where}, leads to {forward.target} {there}"

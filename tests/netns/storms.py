"""A LAN behind each node, cables between LANs, and how many frames go round in them."""

from __future__ import annotations

import time
from pathlib import Path

from tests.netns.lab import Namespace

BRIDGE = "br0"


def add_lan(host: Namespace, *, address: str | None = None) -> None:
    """A bridge on the host, which a port of the node is to join."""
    host.ip("link", "add", BRIDGE, "type", "bridge")
    if address is not None:
        host.ip("address", "add", address, "dev", BRIDGE)
    host.ip("link", "set", BRIDGE, "up")


def add_cable(a: Namespace, b: Namespace, name: str = "cable") -> None:
    """Join the LANs of two hosts."""
    a.ip("link", "add", name, "type", "veth", "peer", name, "netns", b.name)
    for host in (a, b):
        host.ip("link", "set", name, "master", BRIDGE, "up")


def frames_a_second(host: Namespace, interface: str, seconds: float = 0.5) -> float:
    """How many enter the host by an interface, or leave by a TAP."""
    before = _received(host, interface)
    started = time.monotonic()
    time.sleep(seconds)
    return (_received(host, interface) - before) / (time.monotonic() - started)


def _received(host: Namespace, interface: str) -> int:
    with host.entered():
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() == interface:
            return int(counters.split()[1])
    raise AssertionError(f"{host.name} has no {interface}")

"""What a service manager is told of a node: sd_notify(3)."""

from __future__ import annotations

import socket
import time
from typing import Final

STATES: Final = {
    "ready": "READY=1",
    "reloading": "RELOADING=1",
    "stopping": "STOPPING=1",
    "alive": "WATCHDOG=1",
}
"""By the name that a node asks for one with."""

LONGEST_STATUS: Final = 200
SECONDS: Final = 1.0
"""For a manager that does not read."""


def notify(address: str, state: str, status: str | None = None) -> None:
    """Tell the manager at ``address`` (NOTIFY_SOCKET: a path, or with @ a name of Linux's abstract
    ones) one of the states, and ``status``, a line for people. Raises OSError; KeyError for no
    state, ValueError for no line."""
    text = STATES[state]
    if state == "reloading":  # Type=notify-reload wants to know when.
        text += f"\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
    if status is not None:
        if not status.isprintable() or len(status) > LONGEST_STATUS:
            raise ValueError("no status")
        text += f"\nSTATUS={status}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        sock.sendall(text.encode())

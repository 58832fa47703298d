"""The MTU of a TAP that is there, changed while its node runs."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

from wgvx.rtnetlink import NLM_F_ACK, RTM_NEWLINK, ask, attribute, link_named

NETNS_FOLDER = Path("/run/netns")

_IFLA_MTU = 4  # linux/if_link.h
_NUMBER = struct.Struct("=I")


def set_tap_mtu(name: str, mtu: int, netns: str | None) -> None:
    """In bytes, of the device of that name in this network namespace or a named one.

    In a thread of its own, which alone goes there. Raises OSError.
    """
    failed: list[OSError] = []

    def work() -> None:
        try:
            if netns is not None:
                _enter(NETNS_FOLDER / netns)
            ask(RTM_NEWLINK, NLM_F_ACK, link_named(name) + attribute(_IFLA_MTU, _NUMBER.pack(mtu)))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="mtu")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _enter(path: Path) -> None:
    from wgvx.ports import userns  # ctypes takes memory, and the helper is small

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        userns.setns(fd, userns.CLONE_NEWNET)
    finally:
        os.close(fd)

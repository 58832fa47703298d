"""The MTU of a TAP that is there, changed while its node runs.

As a program, for a rootless node's: tap_mtu USER_FD NET_FD NAME MTU goes into these namespaces. Its
exit status is an errno.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from wgvx.ports import child
from wgvx.rtnetlink import NLM_F_ACK, RTM_NEWLINK, ask, attribute, link_named

PATIENCE = 10.0
"""Seconds."""
NETNS_FOLDER = Path("/run/netns")

_IFLA_MTU = 4  # linux/if_link.h
_NUMBER = struct.Struct("=I")


def set_tap_mtu(
    name: str, mtu: int, netns: str | None, namespaces: Sequence[int] | None = None
) -> None:
    """In bytes, of the device of that name in this network namespace or a named one; of a rootless
    node in its own, of which ``namespaces`` are descriptors, user and network. Raises OSError.
    """
    if namespaces is None:
        _in_thread(name, mtu, netns)
    else:
        _in_process(name, mtu, namespaces)


def _in_process(name: str, mtu: int, namespaces: Sequence[int]) -> None:
    """Only who has no other thread can go into a user namespace."""
    command = child.command(__name__, *map(str, namespaces), name, str(mtu))
    try:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, pass_fds=namespaces, timeout=PATIENCE, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        code = errno.ETIMEDOUT
    if code:
        code = code if code > 0 else errno.EIO
        raise OSError(code, os.strerror(code))


def _in_thread(name: str, mtu: int, netns: str | None) -> None:
    """One of its own, which alone goes there."""
    failed: list[OSError] = []

    def work() -> None:
        try:
            if netns is not None:
                _enter(NETNS_FOLDER / netns)
            _set(name, mtu)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="mtu")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _set(name: str, mtu: int) -> None:
    ask(RTM_NEWLINK, NLM_F_ACK, link_named(name) + attribute(_IFLA_MTU, _NUMBER.pack(mtu)))


def _enter(path: Path) -> None:
    from wgvx.ports import userns  # ctypes takes memory, and the helper is small

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        userns.setns(fd, userns.CLONE_NEWNET)
    finally:
        os.close(fd)


def main() -> int:
    from wgvx.ports import userns

    user_fd, net_fd, mtu = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
    try:
        userns.setns(user_fd, userns.CLONE_NEWUSER)
        userns.setns(net_fd, userns.CLONE_NEWNET)
        _set(sys.argv[3], mtu)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""User and network namespaces (user_namespaces(7), network_namespaces(7)).

`os.unshare` and `os.setns` exist from Python 3.12 only, so both are called through libc.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move the caller into new namespaces. With CLONE_NEWUSER it must have one thread only."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace `fd`, which must be of that kind."""
    _check(_libc.setns(fd, kind), "setns")


def open_own(kind: str) -> int:
    """A descriptor of the caller's own namespace, kept alive by it: `kind` is "user" or "net"."""
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def become_root_of_new_namespaces() -> None:
    """Enter a new user and a new network namespace, as uid and gid 0 there and unchanged outside.

    An ordinary user may map only its own ids, the group only once setgroups(2) is denied.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")

"""capabilities(7) and no_new_privs, of the calling thread and those that it starts from then on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Final

# linux/prctl.h
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

# linux/capability.h: version 3 has two words of each set
_VERSION_3: Final = 0x20080522
_HEADER: Final = struct.Struct("=Ii")
_SETS: Final = 2 * struct.calcsize("=III")

_libc = ctypes.CDLL(None, use_errno=True)


def drop_capabilities() -> None:
    """Have none, and let no program that is run have any. Raises OSError."""
    with contextlib.suppress(OSError):  # before Linux 4.3
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        try:
            if _prctl(_PR_CAPBSET_READ, capability):
                _prctl(_PR_CAPBSET_DROP, capability)
        except OSError:
            break  # There are no more, or it takes CAP_SETPCAP, which whoever has none has not.
    header = _HEADER.pack(_VERSION_3, 0)
    _check(_libc.capset(header, bytes(_SETS)), "capset")


def refuse_new_privileges() -> None:
    """No program that is run gets more than we have (setuid, file capabilities). Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> int:
    arguments = [ctypes.c_ulong(n) for n in (value, 0, 0, 0)]
    return _check(_libc.prctl(option, *arguments), "prctl")


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result

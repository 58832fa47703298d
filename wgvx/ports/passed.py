"""TAPs that came with us: descriptors passed in by a parent process or by systemd.

Who made the TAP has configured it, perhaps in a network namespace that is not ours to enter:
nothing is set here but how its frames are framed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from wgvx.ports import tun
from wgvx.ports.errors import PortError
from wgvx.ports.tap import TapPort

FIRST_PASSED = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""


def is_open(fd: int) -> bool:
    """Whether there is such a descriptor."""
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return True


def named_descriptors(environ: Mapping[str, str], process: int) -> dict[str, int]:
    """What systemd passed to `process`, by name (FileDescriptorName=); sd_listen_fds(3)."""
    if environ.get("LISTEN_PID") != str(process):
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    told = environ.get("LISTEN_FDS", "")
    count = int(told) if told.isascii() and told.isdecimal() else 0
    return {name: FIRST_PASSED + place for place, name in enumerate(names[:count]) if name}


def assign(descriptors: Mapping[int, str | None], taps: Iterable[str]) -> dict[str, int]:
    """Which TAP of the file each descriptor is: as told, else by the device's name, else the only
    one that is left. Raises PortError.
    """
    left = list(taps)
    known = ", ".join(left) or "none"
    assigned: dict[str, int] = {}
    unnamed = []
    for fd, told in descriptors.items():
        name, _ = _describe(fd)
        wanted = told or name
        if wanted in left:
            left.remove(wanted)
            assigned[wanted] = fd
        elif told is not None:
            raise PortError(f"--tap-fd {told}={fd}: the file has no such TAP: it has {known}")
        else:
            unnamed.append((fd, name))
    if len(unnamed) == len(left) == 1:
        return {**assigned, left[0]: unnamed[0][0]}
    for fd, name in unnamed:
        raise PortError(
            f"--tap-fd {fd}: it is {name}, and the file has no TAP of that name: say which one "
            f"it is with --tap-fd NAME={fd}; the file has {known}"
        )
    return assigned


def passed_tap(fd: int, name: str, mtu: int) -> TapPort:
    """A port on such a descriptor, which it closes at the end. `name` is the attachment's, `mtu`
    the overlay MTU. Raises PortError.
    """
    device, flags = _describe(fd)
    if not flags & tun.IFF_TAP or not flags & tun.IFF_NO_PI:
        raise PortError(
            f"--tap-fd {fd}: {device} is no TAP of bare frames: attach it with IFF_TAP and "
            "IFF_NO_PI"
        )
    vnet_header = bool(flags & tun.IFF_VNET_HDR)
    os.set_blocking(fd, False)
    os.set_inheritable(fd, False)
    try:
        tun.set_offload(fd, 0)
        if vnet_header:
            tun.set_header_size(fd, tun.VNET_HEADER)
        return TapPort((fd,), name, tun.mac(fd), mtu, vnet_header=vnet_header)
    except OSError as error:
        raise PortError(f"--tap-fd {fd}: {device}: {error.strerror}") from error


def _describe(fd: int) -> tuple[str, int]:
    try:
        return tun.describe(fd)
    except OSError as error:
        if error.errno == errno.EBADFD:
            why = "it is /dev/net/tun, and not attached to a TAP yet (TUNSETIFF)"
        else:
            why = "it is no TAP"
        raise PortError(f"--tap-fd {fd}: {why}") from error

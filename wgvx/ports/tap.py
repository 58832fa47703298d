"""A TAP device as a port: one read or write is one Ethernet frame, without any header."""

from __future__ import annotations

import errno
import os
from typing import ClassVar

from wgvx.ports.errors import PortGone

# The largest frame a TAP can hand over: MTU 65535, the Ethernet header and two VLAN tags. Not less,
# because whoever owns the device may raise its MTU while we run.
MAX_FRAME = 65535 + 14 + 8

# tun_chr_write_iter(): the device is down, a frame that it does not take, memory or queue full.
_REFUSED = {
    errno.EAGAIN,
    errno.EIO,
    errno.EINVAL,
    errno.EFAULT,
    errno.EMSGSIZE,
    errno.ENOBUFS,
    errno.ENOMEM,
}


class TapPort:
    """Frames in and out of one TAP, made by :class:`wgvx.ports.provision.Provisioner`.

    The descriptor is non-blocking and owned by the port. It is readable when a frame waits, and
    when the device is gone.
    """

    type: ClassVar[str] = "tap"

    def __init__(self, fd: int, name: str, mac: bytes, mtu: int) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bytes | None:
        """The next frame that the kernel sends, or None where none waits.

        Raises :class:`PortGone` when the device was deleted or the port closed.
        """
        try:
            return os.read(self._fd, MAX_FRAME)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._gone(error) from error

    def write(self, frame: bytes) -> bool:
        """Hand one frame to the kernel. False: it was not taken (device down, queue full, too
        short). Raises :class:`PortGone` as `read` does."""
        try:
            os.write(self._fd, frame)
        except OSError as error:
            if error.errno in _REFUSED:
                return False
            raise self._gone(error) from error
        return True

    def close(self) -> None:
        """Let go of the device. One that wgvx made disappears with it. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _gone(self, error: OSError) -> PortGone:
        return PortGone(f"TAP {self.name} is gone: {error.strerror}")

"""A TAP device as a port: one read or write is one Ethernet frame."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import ClassVar

from wgvx.dataplane.interface import Framing
from wgvx.ports import tun
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

# TUNSETOFFLOAD on a kernel that does not know a flag, or in a sandbox that does not know the call.
_NO_OFFLOAD = {
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EACCES,
}

_TSO = tun.TUN_F_TSO4 | tun.TUN_F_TSO6 | tun.TUN_F_TSO_ECN
_USO = tun.TUN_F_USO4 | tun.TUN_F_USO6


class TapPort:
    """Frames in and out of one TAP, made by :class:`wgvx.ports.provision.Provisioner`.

    The descriptors are non-blocking and owned by the port, one for each queue of the device; `read`
    and `write` use the first. One is readable when a frame waits, and when the device is gone.

    With `vnet_header` a virtio-net header of 10 bytes stands before each frame in the descriptors,
    for those who read them themselves; `read` and `write` neither show nor want it, and are of use
    as long as `set_offload` has not asked for frames that only the header explains.
    """

    type: ClassVar[str] = "tap"

    def __init__(
        self,
        fds: tuple[int, ...],
        name: str,
        mac: bytes,
        mtu: int,
        *,
        vnet_header: bool = False,
    ) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.fds = fds
        self.vnet_header = vnet_header
        self._header = bytes(tun.VNET_HEADER if vnet_header else 0)

    @property
    def framing(self) -> Framing:
        return Framing.VNET if self.vnet_header else Framing.BARE

    def fileno(self) -> int:
        return self.fds[0] if self.fds else -1

    def open(self, changed: Callable[[], None]) -> None:
        """It is there from the start to the end."""

    def lost(self, code: int) -> None:
        """Raises :class:`PortGone`: a device does not come back."""
        raise self._gone(OSError(code, os.strerror(code)))

    def set_offload(self, tso: bool, uso: bool) -> frozenset[str]:
        """Ask for frames without checksums, and of TCP (`tso`) and UDP (`uso`) for whole segments,
        larger than the MTU: the virtio-net header says how to finish them.

        Returns those of "tso" and "uso" that the kernel agreed to; USO takes Linux 6.2. Without a
        virtio-net header nothing is asked for. Raises :class:`PortGone`.
        """
        if not self.vnet_header:
            return frozenset()
        if not self.fds:
            raise self._gone(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        for with_uso, with_tso in ((uso, tso), (False, tso), (False, False)):
            flags = tun.TUN_F_CSUM | (_TSO if with_tso else 0) | (_USO if with_uso else 0)
            try:
                tun.set_offload(self.fileno(), flags)
            except OSError as error:
                if error.errno not in _NO_OFFLOAD:
                    raise self._gone(error) from error
            else:
                return frozenset({"tso"} if with_tso else ()) | ({"uso"} if with_uso else set())
        return frozenset()

    def read(self) -> bytes | None:
        """The next frame that the kernel sends, or None where none waits.

        Raises :class:`PortGone` when the device was deleted or the port closed.
        """
        try:
            return os.read(self.fileno(), len(self._header) + MAX_FRAME)[len(self._header) :]
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._gone(error) from error

    def write(self, frame: bytes) -> bool:
        """Hand one frame to the kernel. False: it was not taken (device down, queue full, too
        short). Raises :class:`PortGone` as `read` does."""
        try:
            os.write(self.fileno(), self._header + frame)
        except OSError as error:
            if error.errno in _REFUSED:
                return False
            raise self._gone(error) from error
        return True

    def close(self) -> None:
        """Let go of the device. One that wgvx made disappears with it. Idempotent."""
        fds, self.fds = self.fds, ()
        for fd in fds:
            os.close(fd)

    def _gone(self, error: OSError) -> PortGone:
        return PortGone(f"TAP {self.name} is gone: {error.strerror}")

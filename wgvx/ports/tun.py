"""The ioctls of Linux' /dev/net/tun that wgvx uses (Documentation/networking/tuntap.rst).

An open descriptor belongs to the network namespace in which /dev/net/tun was opened, wherever it
is passed to later. None of the calls on an attached descriptor needs a capability.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
import struct
import threading
from pathlib import Path

NODE = "/dev/net/tun"
_DEVICE_NUMBER = (10, 200)  # MISC_MAJOR, TUN_MINOR
_OPEN = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC

# Request numbers in the encoding of asm-generic/ioctl.h: x86, Arm, RISC-V, s390, LoongArch.
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNGETIFF = 0x800454D2
TUNATTACHFILTER = 0x401054D5
TUNDETACHFILTER = 0x401054D6
TUNGETVNETHDRSZ = 0x800454D7
TUNSETVNETHDRSZ = 0x400454D8
SIOCSIFHWADDR = 0x8924
SIOCGIFHWADDR = 0x8927

IFF_TAP = 0x0002
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_TSO_ECN = 0x08
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40

VNET_HEADER = 10
"""Bytes of struct virtio_net_hdr (linux/virtio_net.h), the smallest that the kernel takes."""

ARPHRD_ETHER = 1
_IFREQ_FLAGS = struct.Struct("=16sH22x")
_IFREQ_HWADDR = struct.Struct("=16sH6s16x")
_INT = struct.Struct("=i")
_FILTER = struct.Struct("=HBBI")
_FILTERS = struct.Struct("@HP")  # struct sock_fprog of 64-bit machines

BPF_RET_K = 0x06


def open_node() -> int:
    """Open /dev/net/tun in the calling thread's network namespace: non-blocking, close-on-exec.

    A container has none of its own accord, but often the right to make one: that is made for this
    one call.
    """
    try:
        return os.open(NODE, _OPEN)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return _open_own_node()
        raise


def _open_own_node() -> int:
    path = Path("/dev", f"wgvx-tun-{os.getpid()}-{threading.get_native_id()}")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*_DEVICE_NUMBER))
    try:
        return os.open(path, _OPEN)
    finally:
        path.unlink()


def attach(fd: int, name: str, flags: int) -> None:
    """Bind the descriptor to the device `name`, which is made if there is none.

    With IFF_MULTI_QUEUE each further descriptor that is bound is one more queue of the device.
    """
    fcntl.ioctl(fd, TUNSETIFF, _IFREQ_FLAGS.pack(name.encode(), flags))


def set_offload(fd: int, flags: int) -> None:
    """Say which unfinished packets (TUN_F_*) the reader takes; 0 makes the kernel finish each.

    It is the device's, whichever of its descriptors says so, as is the size of the header.
    """
    fcntl.ioctl(fd, TUNSETOFFLOAD, flags)


def header_size(fd: int) -> int:
    """Bytes of the virtio-net header, which counts only under IFF_VNET_HDR."""
    (size,) = _INT.unpack(fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(_INT.size)))
    return int(size)


def set_header_size(fd: int, size: int) -> None:
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, _INT.pack(size))


def describe(fd: int) -> tuple[str, int]:
    """The name of the device that a descriptor is attached to, and its IFF_* flags."""
    # TUNGETIFF says IFF_NOFILTER by the very bit of IFF_NO_PI, but not while there is a filter:
    # one instruction (struct sock_filter), which lets all of every frame pass.
    pass_all = ctypes.create_string_buffer(_FILTER.pack(BPF_RET_K, 0, 0, 0xFFFFFFFF))
    fcntl.ioctl(fd, TUNATTACHFILTER, _FILTERS.pack(1, ctypes.addressof(pass_all)))
    try:
        answer = fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ_FLAGS.size))
    finally:
        fcntl.ioctl(fd, TUNDETACHFILTER, bytes(_FILTERS.size))
    name, flags = _IFREQ_FLAGS.unpack(answer)
    return name.rstrip(b"\0").decode(errors="replace"), flags


def mac(fd: int) -> bytes:
    """The device's MAC address."""
    _, _, address = _IFREQ_HWADDR.unpack(fcntl.ioctl(fd, SIOCGIFHWADDR, bytes(_IFREQ_HWADDR.size)))
    return bytes(address)


def set_mac(fd: int, mac: bytes) -> None:
    """Set the device's MAC address (6 bytes), whether it is up or down."""
    fcntl.ioctl(fd, SIOCSIFHWADDR, _IFREQ_HWADDR.pack(b"", ARPHRD_ETHER, mac))

"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as Wireshark and tcpdump read them."""

from __future__ import annotations

import struct
from typing import Final

LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101
"""An IPv4 or IPv6 header comes first."""

INBOUND: Final = 1
OUTBOUND: Final = 2
"""Of a packet's flags: seen from the interface."""

WIREGUARD_KEY_LOG: Final = 0x57474B4C
"""A decryption secrets block that holds lines as of ``wg-keylog``."""

_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_STATISTICS: Final = 5
PACKET: Final = 6
_SECRETS: Final = 10
_MAGIC: Final = 0x1A2B3C4D


def section(application: str) -> bytes:
    """What a file begins with; all of it is little-endian."""
    body = struct.pack("<IHHq", _MAGIC, 1, 0, -1) + _option(4, application.encode())
    return _block(_SECTION, body + _END)


def interface(link_type: int, name: str, description: str, snaplen: int) -> bytes:
    """Interfaces are numbered from 0 as they come. Times are in nanoseconds."""
    body = struct.pack("<HHI", link_type, 0, snaplen)
    body += _option(2, name.encode()) + _option(3, description.encode()) + _option(9, b"\x09")
    return _block(_INTERFACE, body + _END)


def packet(number: int, at: int, data: bytes, length: int, direction: int) -> bytes:
    """``data`` is the beginning of ``length`` bytes, ``at`` Unix nanoseconds on an interface."""
    head = struct.pack("<IIIII", number, at >> 32, at & 0xFFFFFFFF, len(data), length)
    return _block(PACKET, head + _padded(data) + _option(2, struct.pack("<I", direction)) + _END)


def secrets(kind: int, data: bytes) -> bytes:
    """What decrypts the packets that follow."""
    return _block(_SECRETS, struct.pack("<II", kind, len(data)) + _padded(data))


def statistics(number: int, at: int, *, received: int, lost: int) -> bytes:
    """What an interface has seen, and what of it is missing in the file."""
    head = struct.pack("<III", number, at >> 32, at & 0xFFFFFFFF)
    counts = _option(4, struct.pack("<Q", received)) + _option(5, struct.pack("<Q", lost))
    return _block(_STATISTICS, head + counts + _END)


class Counter:
    """Counts the packets of a file as it goes by, however it is cut."""

    def __init__(self) -> None:
        self.packets = 0
        self.lost = 0
        """As the file's end has it."""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """The next bytes of a file that this module made."""
        data = self._rest + data
        at = 0
        while len(data) - at >= 8:
            kind, length = struct.unpack_from("<II", data, at)
            if not 12 <= length <= len(data) - at:
                break
            if kind == PACKET:
                self.packets += 1
            elif kind == _STATISTICS:
                (lost,) = struct.unpack_from("<Q", data, at + _LOST_IN_STATISTICS)
                self.lost = max(self.lost, lost)
            at += length
        self._rest = data[at:]


_END: Final = bytes(4)
_LOST_IN_STATISTICS: Final = 8 + 12 + 12 + 4


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)

"""The inner packet as WireGuard sees it: which version, how long, from whom, to whom."""

from __future__ import annotations

from typing import NamedTuple

from wgvx.drops import Drop, Reason
from wgvx.wireguard.constants import PADDING_MULTIPLE


class InnerPacket(NamedTuple):
    """An inner packet without padding; addresses packed, 4 or 16 bytes."""

    packet: bytes
    source: bytes
    destination: bytes


def parse(plaintext: bytes) -> InnerPacket:
    """Trim to the IP length, accepting any padding.

    "the plaintext is checked to be a valid IP packet" (section 6): raises Drop(inner_malformed)
    where the version is neither 4 nor 6, or the length is below a header's or beyond the plaintext.
    """
    version = plaintext[0] >> 4 if plaintext else 0
    if version == 4 and len(plaintext) >= 20:
        length = int.from_bytes(plaintext[2:4], "big")
        if 20 <= length <= len(plaintext):
            return InnerPacket(plaintext[:length], plaintext[12:16], plaintext[16:20])
    elif version == 6 and len(plaintext) >= 40:
        length = 40 + int.from_bytes(plaintext[4:6], "big")
        if length <= len(plaintext):
            return InnerPacket(plaintext[:length], plaintext[8:24], plaintext[24:40])
    raise Drop(Reason.INNER_MALFORMED)


def pad(packet: bytes, mtu: int) -> bytes:
    """Zeros "up to a multiple of 16 bytes" (section 5.4.6), but never past the tunnel's MTU."""
    length = len(packet)
    padded = min(-(-length // PADDING_MULTIPLE) * PADDING_MULTIPLE, max(mtu, length))
    return packet.ljust(padded, b"\0")

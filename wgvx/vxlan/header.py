"""The VXLAN header (RFC 7348, section 5), as Linux sends and accepts it.

::

    0                   1                   2                   3
    |R|R|R|R|I|R|R|R|            Reserved                           |
    |                VXLAN Network Identifier (VNI) |   Reserved    |
"""

from __future__ import annotations

from wgvx.drops import Drop, Reason

HEADER_LENGTH = 8
MAX_VNI = (1 << 24) - 1

# The header as one big-endian integer: the I flag, then the VNI above one reserved byte.
_FLAG_I = 0x08 << 56
_VNI_SHIFT = 8
_RESERVED = ~(_FLAG_I | MAX_VNI << _VNI_SHIFT) & (1 << 64) - 1


def pack(vni: int) -> bytes:
    """The 8-byte header for ``vni`` (0..16777215): I flag set, reserved bits zero."""
    if not 0 <= vni <= MAX_VNI:
        raise ValueError(f"VNI {vni} is not within 0..{MAX_VNI}")
    return (_FLAG_I | vni << _VNI_SHIFT).to_bytes(HEADER_LENGTH, "big")


def parse(datagram: bytes) -> int:
    """The VNI of a UDP payload that begins with a VXLAN header; the frame follows it.

    Raises ``Drop(NOT_VXLAN)`` below 8 bytes or with the I flag clear, ``Drop(RESERVED_BITS)`` with
    any reserved bit set: RFC 7348 would ignore those, Linux drops them, for a bit that it does not
    know may change what the rest means.
    """
    if len(datagram) < HEADER_LENGTH:
        raise Drop(Reason.NOT_VXLAN)
    word = int.from_bytes(datagram[:HEADER_LENGTH], "big")
    if not word & _FLAG_I:
        raise Drop(Reason.NOT_VXLAN)
    if word & _RESERVED:
        raise Drop(Reason.RESERVED_BITS)
    return word >> _VNI_SHIFT & MAX_VNI

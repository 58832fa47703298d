"""Fragments to put together, with every field settable; and how they are handed in."""

from __future__ import annotations

from tests.vxlan.packets import A4, B4, B6, assert_drop
from wgvx.drops import Reason
from wgvx.vxlan.ip import Fragment, IpPacket
from wgvx.vxlan.reassembly import Reassembler

DATA = bytes(range(1, 41))


def piece(
    offset: int,
    payload: bytes,
    *,
    more: bool = True,
    identification: int = 1,
    source: bytes = A4,
    protocol: int = 17,
    ecn: int = 0,
    hop_limit: int = 64,
) -> IpPacket:
    destination = B4 if len(source) == 4 else B6
    fragment = Fragment(identification, offset, more)
    return IpPacket(source, destination, hop_limit, ecn, protocol, payload, fragment)


def add(
    reassembler: Reassembler, packet: IpPacket, now: int = 0, owner: int = 1
) -> IpPacket | None:
    return reassembler.add(packet, now, owner)


def refused(reassembler: Reassembler, packet: IpPacket, owner: int = 1) -> None:
    assert_drop(Reason.FRAGMENT, reassembler.add, packet, 0, owner)

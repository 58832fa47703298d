"""IGMP and MLD messages, and PIM hellos, written out by hand in Ethernet frames."""

from __future__ import annotations

import struct
from typing import Any

from tests.dataplane.rig import mac
from tests.vxlan.packets import address, ethernet, ipv4, ipv6, naive_checksum, pseudo_header

ALERT_4 = b"\x94\x04\0\0"
ALERT_6 = b"\x05\x02\0\0\x01\0"
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = range(1, 7)


def group_mac(group: bytes) -> bytes:
    if len(group) == 16:
        return b"\x33\x33" + group[12:]
    return bytes((1, 0, 0x5E, group[1] & 0x7F, group[2], group[3]))


def summed(message: bytes, pseudo: bytes = b"") -> bytes:
    """The checksum is bytes 2 and 3."""
    check = naive_checksum(pseudo + message[:2] + b"\0\0" + message[4:])
    return message[:2] + check.to_bytes(2, "big") + message[4:]


def in_ipv4(
    message: bytes,
    to: str,
    *,
    station: int = 5,
    source: str | None = None,
    ttl: int = 1,
    protocol: int = 2,
    options: bytes = ALERT_4,
    **more: Any,
) -> bytes:
    """``more`` goes to ``ipv4``."""
    destination = address(to)
    packet = ipv4(
        summed(message),
        source=address(source or f"192.168.7.{station}"),
        destination=destination,
        protocol=protocol,
        ttl=ttl,
        options=options,
        **more,
    )
    return ethernet(packet, 0x0800, destination=group_mac(destination), source=mac(station))


def in_ipv6(
    message: bytes,
    to: str,
    *,
    station: int = 5,
    source: str | None = None,
    hop_limit: int = 1,
    protocol: int = 58,
    options: bytes | None = ALERT_6,
) -> bytes:
    destination, here = address(to), address(source or f"fe80::{station:x}")
    data = summed(message, pseudo_header(here, destination, protocol, len(message)))
    if options is not None:
        data = bytes((protocol, len(options) // 8)) + options + data
    packet = ipv6(
        data,
        source=here,
        destination=destination,
        next_header=protocol if options is None else 0,
        hop_limit=hop_limit,
    )
    return ethernet(packet, 0x86DD, destination=group_mac(destination), source=mac(station))


def query(
    group: str | None = None,
    *,
    version: int = 3,
    code: int = 100,
    flags: int = 2,
    interval: int = 125,
    sources: int = 0,
    **more: Any,
) -> bytes:
    """IGMP; ``flags`` are the S bit and the robustness."""
    message = struct.pack("!BBH", 0x11, code, 0) + address(group or "0.0.0.0")
    if version == 3:
        message += struct.pack("!BBH", flags, interval, sources) + bytes(4 * sources)
    return in_ipv4(message, group or "224.0.0.1", **more)


def mld_query(
    group: str | None = None,
    *,
    version: int = 2,
    code: int = 10_000,
    flags: int = 2,
    interval: int = 125,
    sources: int = 0,
    **more: Any,
) -> bytes:
    message = struct.pack("!BBHHH", 130, 0, 0, code, 0) + address(group or "::")
    if version == 2:
        message += struct.pack("!BBH", flags, interval, sources) + bytes(16 * sources)
    return in_ipv6(message, group or "ff02::1", **more)


def old_report(group: str, *, version: int = 2, **more: Any) -> bytes:
    kind = {1: 0x12, 2: 0x16}[version]
    return in_ipv4(bytes((kind, 0, 0, 0)) + address(group), group, **more)


def old_mld_report(group: str, **more: Any) -> bytes:
    return in_ipv6(bytes((131, *bytes(7))) + address(group), group, **more)


def leave(group: str, **more: Any) -> bytes:
    message = bytes((0x17, 0, 0, 0)) + address(group)
    return in_ipv4(message, "224.0.0.2", **more)


def record(kind: int, group: str, sources: int = 0, auxiliary: int = 0) -> bytes:
    packed = address(group)
    head = struct.pack("!BBH", kind, auxiliary, sources) + packed
    return head + bytes(len(packed) * sources + 4 * auxiliary)


def report(*records: bytes, count: int | None = None, **more: Any) -> bytes:
    number = len(records) if count is None else count
    message = struct.pack("!BBHHH", 0x22, 0, 0, 0, number) + b"".join(records)
    return in_ipv4(message, "224.0.0.22", **more)


def mld_report(*records: bytes, count: int | None = None, **more: Any) -> bytes:
    number = len(records) if count is None else count
    message = struct.pack("!BBHHH", 143, 0, 0, 0, number) + b"".join(records)
    return in_ipv6(message, "ff02::16", **more)


def joins(group: str, **more: Any) -> bytes:
    """A report of the newest version of either family."""
    make = mld_report if ":" in group else report
    return make(record(TO_EX, group), **more)


def hello(**more: Any) -> bytes:
    return in_ipv4(b"\x20\0\0\0", "224.0.0.13", protocol=103, options=b"", **more)


def mld_hello(**more: Any) -> bytes:
    return in_ipv6(b"\x20\0\0\0", "ff02::d", protocol=103, options=None, **more)


def stream(group: str, station: int = 8) -> bytes:
    """A datagram to a group."""
    destination = address(group)
    packet = (ipv6 if ":" in group else ipv4)(b"stream" + bytes(40), destination=destination)
    ethertype = 0x86DD if ":" in group else 0x0800
    return ethernet(packet, ethertype, destination=group_mac(destination), source=mac(station))

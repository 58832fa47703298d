"""IGMP, versions 1 to 3 (RFC 1112, 2236, 3376), and by which else IPv4 routers are known."""

from __future__ import annotations

from wgvx.drops import Drop
from wgvx.quiet.listeners import (
    DEFAULT_RESPONSE,
    PIM_HELLO,
    Message,
    Query,
    Report,
    Router,
    floating,
    is_multicast,
    is_taken_by_hosts,
    joining_record,
    records,
    suppresses,
    tail,
)
from wgvx.vxlan import ip
from wgvx.vxlan.ethernet import ETHERTYPE_IPV4, HEADER_LENGTH

_QUERY = 0x11
_REPORT_V1 = 0x12
_REPORT_V2 = 0x16
_LEAVE = 0x17
_REPORT_V3 = 0x22
_ADVERTISEMENT = 0x30
_TENTH = 100_000_000
_SHORT, _LONG = 8, 12
"""Lengths of queries: of versions 1 and 2, and of version 3 without sources."""

_ALL_HOSTS = bytes((224, 0, 0, 1))
_ALL_REPORTS = bytes((224, 0, 0, 22))
_ALL_REPORTS_MAC = bytes.fromhex("01005e000016")
_ROUTER_ALERT = b"\x94\x04\0\0"
_OPTIONS = HEADER_LENGTH + ip.IPV4_HEADER_LENGTH


def parse(frame: bytes) -> Message | None:
    """What an Ethernet ``frame`` with IPv4 says; None: nothing, or not as it has to be said.

    The IP header and both checksums have to be right, and the TTL 1, as each of these messages has:
    none came from another network. A query has to be one that hosts answer: of version 2 or 3 with
    a router alert, without which they may ignore it (RFC 3376, section 9.1). Of reports none is
    asked for, since version 1 has none.
    """
    try:
        packet = ip.parse(frame[HEADER_LENGTH:])
    except Drop:
        return None
    data = packet.payload
    if len(packet.source) != 4 or packet.fragment or packet.hop_limit != 1 or ip.checksum(data):
        return None
    if packet.protocol == ip.PROTOCOL_PIM:
        return Router() if len(data) >= 4 and data[0] == PIM_HELLO else None
    if packet.protocol != ip.PROTOCOL_IGMP or len(data) < 4:
        return None
    if data[0] == _ADVERTISEMENT:
        return Router()
    message = _listeners(data) if len(data) >= _SHORT else None
    if isinstance(message, Query):
        is_version_1 = len(data) == _SHORT and not data[1]
        has_alert = (
            frame[HEADER_LENGTH] & 0x0F > 5 and frame[_OPTIONS : _OPTIONS + 4] == _ROUTER_ALERT
        )
        is_taken = is_taken_by_hosts(message, frame, packet.destination, _ALL_HOSTS)
        return message if is_taken and (is_version_1 or has_alert) else None
    return message


def _listeners(data: bytes) -> Message | None:
    kind, group = data[0], data[4:8]
    if kind == _REPORT_V3:
        joined = records(data[8:], data[6] << 8 | data[7], 4)
        return None if joined is None else Report(joined)
    if kind == _QUERY:
        return _query(data, group)
    if not is_multicast(group):
        return None
    if kind in (_REPORT_V1, _REPORT_V2):
        return Report((group,), older=True)
    return Report(()) if kind == _LEAVE else None


def _query(data: bytes, address: bytes) -> Query | None:
    group = address if any(address) else None
    if group is not None and not is_multicast(group):
        return None
    if len(data) == _SHORT:  # Version 1 has no time.
        return Query(group, data[1] * _TENTH or DEFAULT_RESPONSE)
    if len(data) < _LONG:
        return None
    interval, robustness, sources = tail(data[8:12])
    if len(data) < _LONG + 4 * sources:
        return None
    lowers = not sources and not suppresses(data[8:12])
    return Query(group, floating(data[1], 4) * _TENTH, interval, robustness, lowers)


def newer_report(frame: bytes, group: bytes) -> bytes:
    """The version 3 report that says what an older one in ``frame`` does, from the same station."""
    message = bytes((_REPORT_V3, 0, 0, 0, 0, 0, 0, 1)) + joining_record(group)
    check = ip.checksum(message).to_bytes(2, "big")
    head = bytearray(b"\x46\xc0\x00\x28\0\0\x40\0\x01\x02\0\0")
    head += frame[HEADER_LENGTH + 12 : HEADER_LENGTH + 16] + _ALL_REPORTS + _ROUTER_ALERT
    head[10:12] = ip.checksum(bytes(head)).to_bytes(2, "big")
    ethernet = _ALL_REPORTS_MAC + frame[6:12] + ETHERTYPE_IPV4.to_bytes(2, "big")
    return ethernet + bytes(head) + message[:2] + check + message[4:]

"""MLD, versions 1 and 2 (RFC 2710, 3810), and by which else IPv6 routers are known."""

from __future__ import annotations

from wgvx.drops import Drop
from wgvx.quiet.listeners import (
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
from wgvx.vxlan.ethernet import ETHERTYPE_IPV6, HEADER_LENGTH

_QUERY = 130
_REPORT_V1 = 131
_DONE = 132
_REPORT_V2 = 143
_ADVERTISEMENT = 151
_MILLISECOND = 1_000_000
_SHORT, _LONG = 24, 28
"""Lengths of queries: of version 1, and of version 2 without sources."""

_NEXT_HEADER = HEADER_LENGTH + 6
_SOURCE = HEADER_LENGTH + 8
_PAYLOAD = HEADER_LENGTH + ip.IPV6_HEADER_LENGTH
_HOP_BY_HOP = 0
_ROUTER_ALERT_OF_MLD = b"\x05\x02\0\0"
_PAD1 = 0

_ALL_HOSTS = bytes.fromhex("ff020000000000000000000000000001")
_ALL_REPORTS = bytes.fromhex("ff020000000000000000000000000016")
_ALL_REPORTS_MAC = bytes.fromhex("333300000016")


def parse(frame: bytes) -> Message | None:
    """What an Ethernet ``frame`` with IPv6 says; None: nothing, or not as it has to be said.

    The checksum has to be right, the hop limit 1 and the source link-local, and a router alert has
    to be there (RFC 3810, section 5); a report may come from ``::`` while its host has no address
    yet, which is for us and not for routers (section 5.2.13).
    """
    try:
        packet = ip.parse(frame[HEADER_LENGTH:])
    except Drop:
        return None
    data, source = packet.payload, packet.source
    if len(source) != 16 or packet.fragment or packet.hop_limit != 1 or len(data) < 4:
        return None
    pseudo = ip.pseudo_sum(source, packet.destination, packet.protocol, len(data))
    if ip.complement(pseudo + ip.partial_sum(data)):
        return None
    is_link_local = source[0] == 0xFE and source[1] & 0xC0 == 0x80
    if packet.protocol == ip.PROTOCOL_PIM:
        return Router() if is_link_local and data[0] == PIM_HELLO else None
    if packet.protocol != ip.PROTOCOL_ICMPV6:
        return None
    if data[0] == _ADVERTISEMENT:
        return Router() if is_link_local else None
    if not _has_router_alert(frame):
        return None
    if not is_link_local and (data[0] == _QUERY or any(source)):
        return None
    message = _listeners(data)
    if not isinstance(message, Query):
        return message
    return message if is_taken_by_hosts(message, frame, packet.destination, _ALL_HOSTS) else None


def _has_router_alert(frame: bytes) -> bool:
    """The packet has been parsed: its headers are whole."""
    if frame[_NEXT_HEADER] != _HOP_BY_HOP:
        return False
    options = frame[_PAYLOAD + 2 : _PAYLOAD + 8 + 8 * frame[_PAYLOAD + 1]]
    position = 0
    while position < len(options):
        if options[position] == _PAD1:
            position += 1
        elif options[position : position + 4] == _ROUTER_ALERT_OF_MLD:
            return True
        else:
            position += 2 + options[position + 1]
    return False


def _listeners(data: bytes) -> Message | None:
    if data[0] == _REPORT_V2:
        joined = records(data[8:], data[6] << 8 | data[7], 16) if len(data) >= 8 else None
        return None if joined is None else Report(joined)
    if len(data) < _SHORT:
        return None
    kind, group = data[0], data[8:24]
    if kind == _QUERY:
        return _query(data, group)
    if not is_multicast(group):
        return None
    if kind == _REPORT_V1:
        return Report((group,), older=True)
    return Report(()) if kind == _DONE else None


def _query(data: bytes, address: bytes) -> Query | None:
    group = address if any(address) else None
    if group is not None and not is_multicast(group):
        return None
    code = data[4] << 8 | data[5]
    if len(data) == _SHORT:
        return Query(group, code * _MILLISECOND)
    if len(data) < _LONG:
        return None
    interval, robustness, sources = tail(data[24:28])
    if len(data) < _LONG + 16 * sources:
        return None
    lowers = not sources and not suppresses(data[24:28])
    return Query(group, floating(code, 12) * _MILLISECOND, interval, robustness, lowers)


def newer_report(frame: bytes, group: bytes) -> bytes:
    """The version 2 report that says what an older one in ``frame`` does, from the same station."""
    source = frame[_SOURCE : _SOURCE + 16]
    message = bytes((_REPORT_V2, 0, 0, 0, 0, 0, 0, 1)) + joining_record(group)
    total = ip.pseudo_sum(source, _ALL_REPORTS, ip.PROTOCOL_ICMPV6, len(message))
    check = ip.complement(total + ip.partial_sum(message)).to_bytes(2, "big")
    options = bytes((ip.PROTOCOL_ICMPV6, 0)) + _ROUTER_ALERT_OF_MLD + b"\x01\0"
    packet = ip.build(
        source,
        _ALL_REPORTS,
        _HOP_BY_HOP,
        options + message[:2] + check + message[4:],
        hop_limit=1,
    )
    return _ALL_REPORTS_MAC + frame[6:12] + ETHERTYPE_IPV6.to_bytes(2, "big") + packet

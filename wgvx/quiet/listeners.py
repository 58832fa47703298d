"""What hosts and routers tell each other about groups, in either family, as values."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

_SECOND = 1_000_000_000

DEFAULT_INTERVAL: Final = 125 * _SECOND
PIM_HELLO = 0x20
"""How PIM of version 2 begins a message of type 0, in both families."""
DEFAULT_RESPONSE: Final = 10 * _SECOND
DEFAULT_ROBUSTNESS: Final = 2
"""What both families' older queries do not tell (RFC 3376, RFC 3810: section 8 and 9)."""


class Query(NamedTuple):
    """A router asks who listens. Times in nanoseconds."""

    group: bytes | None
    """Packed; None: all of them."""
    response: int
    """Within which listeners answer."""
    interval: int = DEFAULT_INTERVAL
    robustness: int = DEFAULT_ROBUSTNESS
    lowers: bool = True
    """Of a group: whoever does not answer has left."""


class Report(NamedTuple):
    """A host tells what it listens to; with nothing joined, only that it has left."""

    joined: tuple[bytes, ...]
    """Groups, packed."""
    older: bool = False
    """Another host that hears it does not report the same group (IGMPv1, IGMPv2, MLDv1)."""


class Router(NamedTuple):
    """A multicast router says that it is there (PIM hello, RFC 4286's advertisement)."""


Message = Query | Report | Router


class _Change(IntEnum):
    """Types of records (RFC 3376, section 4.2.12)."""

    IS_INCLUDE = 1
    IS_EXCLUDE = 2
    TO_INCLUDE = 3
    TO_EXCLUDE = 4
    ALLOW = 5
    BLOCK = 6


_OF_SOURCES = frozenset((_Change.IS_INCLUDE, _Change.TO_INCLUDE, _Change.ALLOW))
_OF_ALL = frozenset((_Change.IS_EXCLUDE, _Change.TO_EXCLUDE))


def records(data: bytes, count: int, length: int) -> tuple[bytes, ...] | None:
    """The groups that ``count`` records join; addresses have ``length`` bytes. None: malformed.

    Sources are not told apart: to listen to some is to listen. A record that blocks sources, or
    includes none, joins nothing; who leaves by it is asked for by the querier.
    """
    joined = []
    position = 0
    for _ in range(count):
        sources_at = position + 4 + length
        if sources_at > len(data):
            return None
        kind, auxiliary = data[position], data[position + 1]
        sources = data[position + 2] << 8 | data[position + 3]
        group = data[position + 4 : sources_at]
        position = sources_at + length * sources + 4 * auxiliary
        if position > len(data):
            return None
        if is_multicast(group) and (kind in _OF_ALL or (kind in _OF_SOURCES and sources)):
            joined.append(group)
    return tuple(joined)


def joining_record(group: bytes) -> bytes:
    """The record by which a host of any version listens to all of a group."""
    return bytes((_Change.IS_EXCLUDE, 0, 0, 0)) + group


def floating(code: int, mantissa_bits: int) -> int:
    """A number in the form that both families give to long times (RFC 3376, section 4.1.1; RFC
    3810, section 5.1.3): three bits of exponent above the mantissa, if the highest bit is set.
    """
    if not code >> mantissa_bits + 3:
        return code
    exponent = code >> mantissa_bits & 7
    return (code & (1 << mantissa_bits) - 1 | 1 << mantissa_bits) << exponent + 3


def tail(data: bytes) -> tuple[int, int, int]:
    """Of a query of the newer version, the last four bytes before its sources: the interval in
    nanoseconds, the robustness, and how many sources there are. 0 stands for the default.
    """
    interval = floating(data[1], 4) * _SECOND or DEFAULT_INTERVAL
    return interval, data[0] & 7 or DEFAULT_ROBUSTNESS, data[2] << 8 | data[3]


def suppresses(data: bytes) -> bool:
    """The same bytes: whether the query tells other routers to leave their timers alone."""
    return bool(data[0] & 8)


def is_multicast(group: bytes) -> bool:
    """Whether this is a group, and no host's address."""
    return group[0] == 0xFF if len(group) == 16 else group[0] >> 4 == 0xE


def is_taken_by_hosts(query: Query, frame: bytes, destination: bytes, all_hosts: bytes) -> bool:
    """Whether hosts answer a query that went in this ``frame`` to this IP ``destination``: to all
    of them, or to its group (RFC 3376, section 4.1.12; RFC 3810, section 5.1.15). Who asks where
    nobody listens hears of no listener.
    """
    return destination in (all_hosts, query.group) and frame[:6] == group_mac(destination)


def group_mac(group: bytes) -> bytes:
    """The MAC that frames to a group have (RFC 1112, section 6.4; RFC 2464, section 7)."""
    if len(group) == 16:
        return b"\x33\x33" + group[-4:]
    return b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:]

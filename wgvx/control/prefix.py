"""Addresses and prefixes as text, fast: a request may hold a hundred thousand of them."""

from __future__ import annotations

import socket

from wgvx.wireguard.allowed_ips import Prefix, masked

_BITS = {socket.AF_INET: 32, socket.AF_INET6: 128}


def parse_prefix(text: str) -> Prefix:
    """``10.254.0.0/24``; a bare address is a host, host bits are cleared. Raises ValueError."""
    address, slash, length = text.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if slash and not (length.isascii() and length.isdigit() and len(length) <= 3):
        raise ValueError(text)
    try:
        packed = socket.inet_pton(family, address)
    except OSError:
        raise ValueError(text) from None
    return masked(packed, int(length) if slash else _BITS[family])


def format_prefix(prefix: Prefix) -> str:
    """As :func:`parse_prefix` reads it."""
    network, length = prefix
    return f"{format_address(network)}/{length}"


def format_address(packed: bytes) -> str:
    """A packed address, 4 or 16 bytes."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)

"""Endpoints as the system and as people write them."""

from __future__ import annotations

import socket

from wgvx.wireguard.sessions import Endpoint


def endpoint_from_sockaddr(address: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """An Endpoint of what getaddrinfo gives."""
    if len(address) == 2:
        return Endpoint(socket.inet_aton(address[0]), address[1])
    host, port, _, scope = address
    return Endpoint(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), port, scope)


def format_host(endpoint: Endpoint) -> str:
    """``192.0.2.1``, ``2001:db8::1``, ``fe80::1%2``."""
    if len(endpoint.ip) == 4:
        return socket.inet_ntoa(endpoint.ip)
    zone = f"%{endpoint.scope}" if endpoint.scope else ""
    return socket.inet_ntop(socket.AF_INET6, endpoint.ip) + zone


def format_endpoint(endpoint: Endpoint) -> str:
    """``192.0.2.1:51820``, ``[2001:db8::1]:51820``, ``[fe80::1%2]:51820``."""
    host = format_host(endpoint)
    return f"{host}:{endpoint.port}" if len(endpoint.ip) == 4 else f"[{host}]:{endpoint.port}"

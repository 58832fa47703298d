"""Opens the sockets of a node."""

from __future__ import annotations

import errno
import socket

from wgvx.underlay.udp import UdpSocket, UnderlayError


def open_sockets(port: int, fwmark: int, workers: int = 1) -> list[UdpSocket]:
    """For each worker sockets of both families on one port; of IPv4 alone on a host without IPv6.

    ``port`` 0 takes any that is free in both. Raises UnderlayError.
    """
    attempts = 1 if port else 16
    while True:
        attempts -= 1
        try:
            pair = _open_pair(port, fwmark)
            return pair + _join(pair, fwmark, workers)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and attempts > 0:
                continue
            raise UnderlayError(_explain(error, port), error.errno or errno.EIO) from None


def _open_pair(port: int, fwmark: int) -> list[UdpSocket]:
    ipv4 = UdpSocket(socket.AF_INET, port, fwmark)
    try:
        ipv6 = UdpSocket(socket.AF_INET6, ipv4.port, fwmark)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT):
            return [ipv4]
        ipv4.close()
        raise
    except UnderlayError:
        ipv4.close()
        raise
    return [ipv4, ipv6]


def _join(pair: list[UdpSocket], fwmark: int, workers: int) -> list[UdpSocket]:
    """The sockets of workers 2 and up. The first pair was bound alone: no other node had the port,
    not even one of the same user, which SO_REUSEPORT would let in."""
    sockets: list[UdpSocket] = []
    try:
        for first in pair if workers > 1 else []:
            first.share_port()
            for worker in range(2, workers + 1):
                sockets.append(UdpSocket(first.family, first.port, fwmark, worker, shared=True))
    except BaseException:
        for one in (*pair, *sockets):
            one.close()
        raise
    return sockets


def _explain(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"UDP port {port} is already in use: stop what uses it "
            f"(ss -ulpn 'sport = :{port}'), or set another `listen_port` in [node]"
        )
    if error.errno == errno.EACCES:
        return f"UDP port {port} needs privilege: set a `listen_port` above 1023 in [node]"
    return f"cannot open UDP port {port}: {error.strerror}"

"""The way out: UDP, and how many datagrams go in one call."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator

from wgvx.probe.finding import Finding
from wgvx.underlay import gso_segments
from wgvx.underlay.offload import SOL_UDP, UDP_GRO, UDP_SEGMENT

LOOPBACK_SECONDS = 2.0  # for a datagram to this very machine

_SEGMENT = 1000


def udp() -> Finding:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 0))
    except OSError as error:
        return Finding(
            "UDP socket",
            False,
            f"no tunnel: {error.strerror}",
            "let this process open sockets (seccomp, AppArmor)",
        )
    return Finding("UDP socket", True, "the tunnel has its way out")


def ipv6() -> Finding:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            cure = "boot without `ipv6.disable=1`"
        else:
            cure = "`sysctl -w net.ipv6.conf.all.disable_ipv6=0 && ip link set lo up` as root"
        return Finding("IPv6", False, f"peers are reached over IPv4 only: {error.strerror}", cure)
    return Finding("IPv6", True, "peers are reached over IPv4 and IPv6")


def udp_segment() -> Finding:
    return _offload("UDP_SEGMENT", _send_segments)


def udp_gro() -> Finding:
    return _offload("UDP_GRO", _receive_segments)


def _offload(what: str, attempt: Callable[[], str]) -> Finding:
    """`attempt` returns what is gained, or raises OSError."""
    try:
        return Finding(what, True, attempt())
    except OSError as error:
        if error.errno == errno.ENETUNREACH:
            cure = "`ip link set lo up`: it is tried on the loopback device"
        else:
            cure = "Linux 5.0 or newer, without a sandbox that hides it"
        return Finding(what, False, f"one call per datagram: {error.strerror or error}", cure)


def _send_segments() -> str:
    with _loopback() as (sender, receiver):
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, _SEGMENT)
        sender.send(bytes(2 * _SEGMENT))
        for _ in range(2):
            if len(receiver.recv(65535)) != _SEGMENT:
                raise OSError("the kernel did not cut a large send into datagrams")
    return f"gso: up to {gso_segments()} datagrams leave in one call"


def _receive_segments() -> str:
    with _loopback() as (sender, receiver):
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, _SEGMENT)
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
        sender.send(bytes(2 * _SEGMENT))
        data, ancillary, _, _ = receiver.recvmsg(65535, socket.CMSG_SPACE(4))
        sizes = [
            struct.unpack_from("=H", value)[0]
            for level, kind, value in ancillary
            if (level, kind) == (SOL_UDP, UDP_GRO)
        ]
        if len(data) != 2 * _SEGMENT or sizes != [_SEGMENT]:
            raise OSError("the kernel did not join datagrams")
    return "gro: many datagrams arrive in one call"


@contextlib.contextmanager
def _loopback() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets, the first connected to the second."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.settimeout(LOOPBACK_SECONDS)
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield sender, receiver

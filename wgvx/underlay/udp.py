"""One UDP socket of the underlay, with addresses and TOS per datagram."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from typing import Final

from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.underlay import offload
from wgvx.underlay.endpoints import format_endpoint
from wgvx.wireguard.sessions import Endpoint

log = logging.getLogger(__name__)

LARGEST_DATAGRAM: Final = 65535
RECEIVE_BUFFER: Final = 4 << 20
SEND_BUFFER: Final = 1 << 20
"""Bytes asked for; without CAP_NET_ADMIN the kernel grants what its limits allow. Linux charges a
large receive (UDP_GRO) four times its bytes, and one that does not fit is lost whole: so there is
room for many. That a queue does not stand in it is the data plane's to see to."""

# asm-generic/socket.h, linux/in.h and linux/in6.h; Python names only some of them.
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IP_RECVTOS: Final = 13
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_RECVPKTINFO: Final = 49
_IPV6_PKTINFO: Final = 50
_IPV6_RECVTCLASS: Final = 66
_IPV6_TCLASS: Final = 67
_IPV6_AUTOFLOWLABEL: Final = 70
_PMTUDISC_DONT: Final = 0
_PMTUDISC_PROBE: Final = 3
_PMTUDISC_OMIT: Final = 5

_IN_PKTINFO: Final = struct.Struct("=i4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16si")
_INT: Final = struct.Struct("=i")
_UNSIGNED: Final = struct.Struct("=I")
_CONTROL_ROOM: Final = 128

_NO_ROOM: Final = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM}
_LOCAL_ADDRESS_GONE: Final = {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH}


class UnderlayError(Exception):
    """The sockets cannot be had; the message names the mend, ``code`` is the errno."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class UdpSocket:
    """One UDP socket of one family. Never blocks, never raises because of what a packet does.

    ``worker``, from 1 on, is whose it is. With ``shared`` it joins others on its port, which said
    `share_port`: each flow is received by one of them.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        port: int,
        fwmark: int,
        worker: int = 1,
        *,
        shared: bool = False,
    ) -> None:
        self.family = family
        self.worker = worker
        self._is_ipv6 = family == socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._set_options()
            if shared:
                self.share_port()
            if fwmark:
                self.set_fwmark(fwmark)
            self._socket.bind(("::" if self._is_ipv6 else "0.0.0.0", port))
        except BaseException:
            self._socket.close()
            raise

    @classmethod
    def adopt(cls, fd: int, worker: int) -> UdpSocket:
        """One that another process opened as this class does. The descriptor is ours to close."""
        made = cls.__new__(cls)
        try:
            made._socket = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise
        made._socket.setblocking(False)
        made.family = socket.AddressFamily(made._socket.family)
        made.worker = worker
        made._is_ipv6 = made.family == socket.AF_INET6
        return made

    def _set_options(self) -> None:
        option = self._socket.setsockopt
        self._set_buffer(_SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._set_buffer(_SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER)
        if self._is_ipv6:
            option(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            option(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            option(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
            option(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
            # The kernel's WireGuard sends none.
            option(socket.IPPROTO_IPV6, _IPV6_AUTOFLOWLABEL, 0)
        else:
            option(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            option(socket.IPPROTO_IP, _IP_RECVTOS, 1)
            # As the kernel's WireGuard: DF clear, a datagram too large for the path is fragmented.
            # And whoever forges "fragmentation needed" for our port teaches the kernel nothing.
            option(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)

    def _set_buffer(self, forced: int, asked: int, size: int) -> None:
        """Past the limits of the system where we may, within them otherwise."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
        except OSError:
            self._socket.setsockopt(socket.SOL_SOCKET, asked, size)

    @property
    def address_length(self) -> int:
        """4 or 16: which endpoints this socket serves."""
        return 16 if self._is_ipv6 else 4

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._socket.getsockname()[1])

    def fileno(self) -> int:
        """For the event loop."""
        return self._socket.fileno()

    @property
    def is_udp(self) -> bool:
        """Of one that was adopted, whether it is what it is said to be."""
        return self._socket.type == socket.SOCK_DGRAM

    def share_port(self) -> None:
        """Let further sockets of this user join on the port."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    def join_received(self) -> bool:
        """Let the kernel join datagrams on receipt, for who reads the descriptor himself: `receive`
        cannot tell them apart. False where it cannot."""
        return offload.join_received(self._socket)

    def set_fwmark(self, fwmark: int) -> None:
        """Mark what is sent; raises UnderlayError without the privilege."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _UNSIGNED.pack(fwmark))
        except PermissionError:
            raise UnderlayError(
                f"fwmark {fwmark} needs CAP_NET_ADMIN: run as root, or leave `fwmark` out",
                errno.EPERM,
            ) from None

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    # --- receiving ---------------------------------------------------------------------------

    def receive(self, budget: int) -> list[Datagram]:
        """At most ``budget`` datagrams, as many as are there."""
        datagrams: list[Datagram] = []
        while len(datagrams) < budget:
            try:
                data, control, _, source = self._socket.recvmsg(LARGEST_DATAGRAM, _CONTROL_ROOM)
            except OSError:
                break  # Nothing there, or an error of the network, which is not ours to raise.
            datagrams.append(self._datagram(data, control, source))
        return datagrams

    def _datagram(
        self, data: bytes, control: list[tuple[int, int, bytes]], source: tuple[str, int, int, int]
    ) -> Datagram:
        local = b""
        interface = tos = 0
        for _, kind, value in control:
            if self._is_ipv6:
                if kind == _IPV6_PKTINFO:
                    local = _IN6_PKTINFO.unpack(value)[0]
                elif kind == _IPV6_TCLASS:
                    tos = _INT.unpack(value)[0]
            elif kind == _IP_PKTINFO:
                interface, local, _ = _IN_PKTINFO.unpack(value)
            elif kind == socket.IP_TOS:
                tos = value[0]
        if self._is_ipv6:
            # A zone in the text is the scope again; inet_pton does not take it.
            ip = socket.inet_pton(socket.AF_INET6, source[0].partition("%")[0])
            return Datagram(data, Endpoint(ip, source[1], source[3], local), tos)
        ip = socket.inet_aton(source[0])
        return Datagram(data, Endpoint(ip, source[1], 0, local, interface), tos)

    # --- sending -----------------------------------------------------------------------------

    def send(self, datagram: Datagram) -> Reason | None:
        """Send one, from the address that the peer used; the reason where it was not sent."""
        local = datagram.endpoint.local
        code = self._send(datagram, local)
        if local and code in _LOCAL_ADDRESS_GONE:
            # "The source address is sticky", but falls over when it is no longer ours.
            code = self._send(datagram, b"")
        if code == 0:
            return None
        log.debug("to %s: %s", format_endpoint(datagram.endpoint), os.strerror(code))
        return Reason.SOCKET_FULL if code in _NO_ROOM else Reason.UNREACHABLE

    def send_whole(self, datagram: Datagram) -> Reason | None:
        """The same with DF set, on this one alone; TOO_BIG where our own link does not take it.

        What the kernel has learned of the path, which anybody may have told it, does not count.
        """
        level, option, usual = (
            (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
            if self._is_ipv6
            else (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
        )
        self._socket.setsockopt(level, option, _PMTUDISC_PROBE)
        try:
            if self._send(datagram, datagram.endpoint.local) == errno.EMSGSIZE:
                return Reason.TOO_BIG
            return None  # Whatever else refused it: it counts as lost, as on the way.
        finally:
            self._socket.setsockopt(level, option, usual)

    def _send(self, datagram: Datagram, local: bytes) -> int:
        """The errno, 0 when it was sent."""
        endpoint = datagram.endpoint
        control: list[tuple[int, int, bytes]] = []
        address: tuple[str, int] | tuple[str, int, int, int]
        if self._is_ipv6:
            address = (
                socket.inet_ntop(socket.AF_INET6, endpoint.ip),
                endpoint.port,
                0,
                endpoint.scope,
            )
            if local:
                info = _IN6_PKTINFO.pack(local, endpoint.scope)
                control.append((socket.IPPROTO_IPV6, _IPV6_PKTINFO, info))
            if datagram.tos:
                tos = _INT.pack(datagram.tos)
                control.append((socket.IPPROTO_IPV6, _IPV6_TCLASS, tos))
        else:
            address = (socket.inet_ntoa(endpoint.ip), endpoint.port)
            if local:
                info = _IN_PKTINFO.pack(0, local, bytes(4))
                control.append((socket.IPPROTO_IP, _IP_PKTINFO, info))
            if datagram.tos:
                control.append((socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(datagram.tos)))
        try:
            self._socket.sendmsg([datagram.data], control, 0, address)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

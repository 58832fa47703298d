"""The datagrams on a cable, whole and one by one."""

from __future__ import annotations

import contextlib
import socket

from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

from tests.netns.lab import Namespace
from tests.netns.nodes import PORT
from tests.netns.traffic import ETH_P_ALL


class Wiretap:
    """What passes the first host's ``eth0``; the offloads of all on the cable are off from now on,
    or one packet may stand for several."""

    def __init__(self, host: Namespace, *others: Namespace) -> None:
        for one in (host, *others):
            one.run("ethtool", "-K", "eth0", "gso", "off", "gro", "off", "tx", "off")
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind(("eth0", ETH_P_ALL))
        self._socket.setblocking(False)

    def datagrams(self, *ports: int) -> tuple[list[bytes], list[bytes]]:
        """Payloads that the host has received and sent since it was last asked, for these ports:
        WireGuard's, where none is named."""
        received: list[bytes] = []
        sent: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, _, kind, *_) = self._socket.recvfrom(65536)
                packet = Ether(data)
                if UDP in packet and packet[UDP].dport in (ports or (PORT,)):
                    payload = bytes(packet[UDP].payload)
                    (sent if kind == socket.PACKET_OUTGOING else received).append(payload)
        return received, sent

    def close(self) -> None:
        self._socket.close()

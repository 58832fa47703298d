"""The smallest of VMs: one address behind a socket as of QEMU's ``-netdev stream``."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

from tests.netns.lab import eventually

MAC = bytes.fromhex("525400000001")
ETH_ARP, ETH_IPV4 = b"\x08\x06", b"\x08\x00"
ARP_REQUEST, ARP_REPLY = b"\0\1", b"\0\2"
ICMP, ECHO_REQUEST, ECHO_REPLY = 1, 8, 0
LENGTH = struct.Struct("!I")


class Vm:
    """Answers ARP and pings for ``address`` while its thread runs."""

    def __init__(self, path: Path, address: str) -> None:
        self._address = socket.inet_aton(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        eventually(path.is_socket, f"{path} is there")
        self._socket.connect(str(path))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with self._socket.makefile("rb") as stream:
            while len(length := stream.read(LENGTH.size)) == LENGTH.size:
                frame = stream.read(*LENGTH.unpack(length))
                if answer := self._answer(frame):
                    self._socket.sendall(LENGTH.pack(len(answer)) + answer)

    def _answer(self, frame: bytes) -> bytes | None:
        kind, body, source = frame[12:14], frame[14:], frame[6:12]
        if kind == ETH_ARP and body[6:8] == ARP_REQUEST and body[24:28] == self._address:
            ours, theirs = MAC + self._address, body[8:18]
            return source + MAC + kind + body[:6] + ARP_REPLY + ours + theirs
        if kind == ETH_IPV4 and body[9] == ICMP and body[16:20] == self._address:
            start = 4 * (body[0] & 0x0F)
            if body[start] == ECHO_REQUEST:
                # The addresses change places, which no checksum minds; of the type it does.
                header = body[:12] + body[16:20] + body[12:16] + body[20:start]
                checksum = int.from_bytes(body[start + 2 : start + 4], "big") + (ECHO_REQUEST << 8)
                mended = (checksum & 0xFFFF) + (checksum >> 16)
                echo = bytes((ECHO_REPLY, 0)) + mended.to_bytes(2, "big") + body[start + 4 :]
                return source + MAC + kind + header + echo
        return None

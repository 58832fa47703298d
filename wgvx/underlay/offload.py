"""Many datagrams in one call, as the kernel here has them: UDP_SEGMENT and UDP_GRO (udp(7))."""

from __future__ import annotations

import errno
import socket
from typing import Final

# linux/udp.h
SOL_UDP: Final = socket.IPPROTO_UDP
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

SURE_SEGMENTS: Final = 64
"""What every kernel with UDP_SEGMENT takes; from 6.9 it is 128."""
MAXIMUM_SEGMENTS: Final = 1024


def gso_segments() -> int:
    """The most datagrams that one send with UDP_SEGMENT takes, 1 where there is no such thing.

    Tried on the loopback device, by halving; SURE_SEGMENTS where that is not up.
    """
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        try:
            sender.setsockopt(SOL_UDP, UDP_SEGMENT, 1)
        except OSError:
            return 1
        try:
            receiver.bind(("127.0.0.1", 0))
            sender.connect(receiver.getsockname())
        except OSError:
            return SURE_SEGMENTS
        taken, refused = 1, MAXIMUM_SEGMENTS + 1
        while refused - taken > 1:
            count = (taken + refused) // 2
            try:
                sender.send(bytes(count))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    # Not about the number: EIO says that the feature is missing after all.
                    return 1 if error.errno in (errno.EIO, errno.EOPNOTSUPP) else SURE_SEGMENTS
                refused = count
            else:
                taken = count
        return taken


def join_received(sock: socket.socket) -> bool:
    """Let the kernel join datagrams of one flow on receipt (UDP_GRO); False where it cannot."""
    try:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True

"""Traffic between hosts of the lab: pings, raw frames, and a bulk transfer that is compared."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator

from tests.netns.lab import Namespace, Place, eventually

BROADCAST = "ff:ff:ff:ff:ff:ff"
# IEEE Std 802: EtherType 0x88B5 is for local experiments, so no kernel answers our frames.
ETHERTYPE = 0x88B5
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_MR_PROMISC = 1
PACKET_IGNORE_OUTGOING = 23
CHUNK = 1 << 20


def ping(
    place: Place,
    destination: str,
    *,
    count: int = 1,
    size: int = 56,
    df: bool = False,
    wait: int = 1,
) -> bool:
    """Whether every one of ``count`` echo requests of ``size`` bytes of data is answered, the last
    one within ``wait`` seconds.
    """
    options = ["-M", "do"] if df else []
    done = place.run(
        *("ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(wait), "-s", str(size)),
        *options,
        destination,
        check=False,
    )
    return f"{count} received" in done.stdout


def assert_ping(place: Place, destination: str, *, timeout: float = 10, count: int = 3) -> None:
    """The way opens within ``timeout`` seconds and then loses nothing."""
    eventually(lambda: ping(place, destination), f"{destination} answers a ping", timeout)
    # What is late, on a busy machine, is not lost.
    assert ping(place, destination, count=count, wait=5), f"pings to {destination} were lost"


def mac_of(place: Place, interface: str) -> str:
    (row,) = place.ip_json("link", "show", interface)
    return str(row["address"])


def neighbour(place: Place, address: str, interface: str) -> str | None:
    """The MAC that ARP or neighbour discovery has found for an address."""
    for row in place.ip_json("neighbour", "show", "to", address, "dev", interface):
        if "lladdr" in row:
            return str(row["lladdr"])
    return None


def assert_neighbours(a: Place, a_if: str, b: Place, b_if: str, addresses: Iterable[str]) -> None:
    """From an empty cache, ARP and ND on ``a`` find the MAC that ``b`` really has."""
    a.ip("neighbour", "flush", "dev", a_if)
    for address in addresses:
        assert_ping(a, address, count=1)
        assert neighbour(a, address, a_if) == mac_of(b, b_if)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(destination: str, source: str, payload: bytes) -> bytes:
    """An Ethernet frame that only our tests understand."""
    header = mac_bytes(destination) + mac_bytes(source) + ETHERTYPE.to_bytes(2, "big")
    return (header + payload).ljust(60, b"\0")


class Wire:
    """Raw frames on one interface: out of it, and what comes in by it."""

    def __init__(self, host: Namespace, interface: str) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((interface, ETH_P_ALL))
        with host.entered():
            index = socket.if_nametoindex(interface)
        # struct packet_mreq: our frames are for MACs that the interface does not have.
        member = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, member)

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    def received(
        self, payload: bytes, wait: float = 0.5, ethertype: int = ETHERTYPE
    ) -> list[bytes]:
        """Every frame with this payload that has come or comes in during ``wait`` seconds."""
        return [data for data in self._frames(wait, ethertype) if payload in data]

    def expect(self, payload: bytes, ethertype: int = ETHERTYPE, timeout: float = 5) -> bytes:
        """The next frame with this payload."""
        for data in self._frames(timeout, ethertype):
            if payload in data:
                return data
        raise AssertionError(f"no frame with {payload!r} within {timeout:g} s")

    def _frames(self, timeout: float, ethertype: int) -> Iterator[bytes]:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return
            if data[12:14] == ethertype.to_bytes(2, "big"):
                yield data

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def wires(*taps: tuple[Namespace, str]) -> Iterator[list[Wire]]:
    """A :class:`Wire` on each of the interfaces."""
    opened = [Wire(host, interface) for host, interface in taps]
    try:
        yield opened
    finally:
        for wire in opened:
            wire.close()


def copy_over_tcp(source: Namespace, sink: Namespace, address: str, size: int) -> float:
    """Send ``size`` random bytes over TCP; they arrive whole and unchanged. Returns bit/s."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sent = hashlib.sha256()

    def send() -> None:
        generator = random.Random(1)
        with contextlib.closing(source.socket(family, socket.SOCK_STREAM)) as sender:
            sender.settimeout(30)
            sender.connect((address, port))
            for start in range(0, size, CHUNK):
                chunk = generator.randbytes(min(CHUNK, size - start))
                sent.update(chunk)
                sender.sendall(chunk)

    received = hashlib.sha256()
    with contextlib.closing(sink.socket(family, socket.SOCK_STREAM)) as listener:
        listener.bind((address, 0))
        listener.listen(1)
        listener.settimeout(10)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=send)
        thread.start()
        started = time.monotonic()
        try:
            with listener.accept()[0] as stream:
                stream.settimeout(30)
                arrived = 0
                while chunk := stream.recv(CHUNK):
                    received.update(chunk)
                    arrived += len(chunk)
        finally:
            thread.join(60)
    assert arrived == size
    assert received.digest() == sent.digest()
    return 8 * size / (time.monotonic() - started)

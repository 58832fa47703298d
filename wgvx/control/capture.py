"""What passes a running node, written as pcapng to whoever asked over the control socket.

The data plane copies (wgvx/dataplane/captured.py); here the copies are taken twenty times a second,
while somebody looks, and each reader gets those that he asked for. One that reads too slowly loses
packets, and is told how many at the end; the node waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from wgvx import __version__
from wgvx.config.describe import describe
from wgvx.control import pcapng
from wgvx.dataplane.captured import NO_CAPTURE, Capture, Captured, Passed
from wgvx.keylog import in_lines, own_line
from wgvx.node import Node
from wgvx.pump import clock
from wgvx.vxlan import ip, udp
from wgvx.vxlan.ip import PROTOCOL_UDP
from wgvx.wireguard.constants import REKEY_TIMEOUT
from wgvx.wireguard.sessions import HandshakeKeys

INTERVAL = 0.05
"""Seconds between two looks."""
MAXIMUM_WAITING = 16 << 20
"""Bytes that wait for a reader; more than a look can bring."""
MAXIMUM_KEYS = 4096
"""Handshakes whose keys wait for a reader."""
MAXIMUM_ADDRESSES = 4096
"""Senders, of whom many may be nobody's peers, whose way to us is remembered."""
AT_ONCE = 256
"""Packets that are written before others have their turn."""
MAXIMUM_SNAPLEN = 262144
"""As tcpdump's."""
SESSION = 180 * 1_000_000_000
"""Nanoseconds after a handshake in which there may be a session."""


@dataclass(slots=True)
class Wish:
    """What a reader wants; as the command line has it."""

    outer: bool
    vni: int | None = None
    snaplen: int = MAXIMUM_SNAPLEN
    count: int | None = None
    keys: bool = False

    @property
    def kinds(self) -> Capture:
        """What the data plane has to copy for it."""
        return Capture.DATAGRAMS if self.outer else Capture.FRAMES


@dataclass(slots=True, eq=False)
class _Reader:
    wish: Wish
    writer: asyncio.StreamWriter
    interfaces: dict[int, int] = field(default_factory=dict)
    """By port, their numbers in the file."""
    own: dict[bytes, bytes] = field(default_factory=dict)
    """By a peer's address, ours in what went there and came from there."""
    keys: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAXIMUM_KEYS))
    packets: int = 0
    lost: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Captures:
    """All readers of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._readers: list[_Reader] = []
        self._looking: asyncio.Task[None] | None = None
        self._taking = asyncio.Lock()
        self._nobody = asyncio.Event()
        """Set when the last reader has gone."""
        self._kept_key_log = node.engine.device.key_log
        self._ungreeted: set[int] = set()
        """Peers that a handshake is to be begun with."""

    async def serve(
        self, wish: Wish, requests: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Write until the reader has had enough, or what he asked for, or goes away."""
        reader = _Reader(wish, writer)
        writer.write(self._head(reader))
        enough = asyncio.ensure_future(requests.read(1))
        done = asyncio.ensure_future(reader.ended.wait())
        self._readers.append(reader)
        try:
            self._follow_wishes()
            if wish.keys:
                self._ungreeted.update(info.id for info in self._node.engine.peers.values())
                self._shake_hands()
            await asyncio.wait((enough, done), return_when=asyncio.FIRST_COMPLETED)
            await self._look()
            if not writer.is_closing():
                writer.write(b"".join(self._tail(reader)))
        finally:
            enough.cancel()
            done.cancel()
            self._readers.remove(reader)
            self._follow_wishes()
            if not self._readers:
                self._nobody.set()
        if not writer.is_closing():
            await writer.drain()

    async def close(self) -> None:
        """The node ends: what has been copied still goes out."""
        for reader in self._readers:
            reader.ended.set()
        if self._readers:
            self._nobody.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nobody.wait(), 1)

    # --- what is copied, and when it is looked at -----------------------------------------------

    def _follow_wishes(self) -> None:
        kinds, snaplen = NO_CAPTURE, 0
        for reader in self._readers:
            kinds |= reader.wish.kinds
            snaplen = max(snaplen, reader.wish.snaplen)
        self._node.dataplane.set_capture(kinds, snaplen)
        keys = any(reader.wish.keys for reader in self._readers)
        if not keys:
            self._ungreeted.clear()
        self._node.engine.device.key_log = self._note_keys if keys else self._kept_key_log
        if self._readers and self._looking is None:
            self._looking = asyncio.ensure_future(self._look_again())
        elif not self._readers and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _shake_hands(self) -> None:
        """Keys are known of handshakes to come only, so let there be one with all who are in
        session: as soon as it may be, for there must be REKEY-TIMEOUT between two.
        """
        device, now = self._node.engine.device, time.time_ns()
        there = {info.id for info in self._node.engine.peers.values()}
        for peer in self._ungreeted & there:
            age = now - device.latest_handshake(peer)
            if not 0 <= age < SESSION:
                self._ungreeted.discard(peer)
            elif age > REKEY_TIMEOUT:
                self._ungreeted.discard(peer)
                device.initiate(peer, clock())
        self._ungreeted &= there
        self._node.settle()

    def _note_keys(self, keys: HandshakeKeys) -> None:
        if self._kept_key_log is not None:
            self._kept_key_log(keys)
        for reader in self._readers:
            if reader.wish.keys:
                reader.keys.append(in_lines(keys))

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._look()
            if self._ungreeted:
                self._shake_hands()

    async def _look(self) -> None:
        async with self._taking:
            copies, lost = self._node.dataplane.take_captured()
            # What passed is stamped by a clock that nobody sets.
            offset = time.time_ns() - clock()
            readers = list(self._readers)
            for reader in readers:
                reader.lost += lost
                self._write_keys(reader)
            for at in range(0, len(copies), AT_ONCE):
                for reader in readers:
                    self._write(reader, copies[at : at + AT_ONCE], offset)
                await asyncio.sleep(0)
            for reader in readers:
                if reader.writer.is_closing() or reader.packets == reader.wish.count:
                    reader.ended.set()

    def _write_keys(self, reader: _Reader) -> None:
        """Before the packets that they open."""
        if reader.keys and self._waiting(reader) <= MAXIMUM_WAITING:
            keys = b"".join(reader.keys)
            reader.keys.clear()
            reader.writer.write(pcapng.secrets(pcapng.WIREGUARD_KEY_LOG, keys))

    @staticmethod
    def _waiting(reader: _Reader) -> int:
        """Bytes that the reader has yet to read; more than there may be for one who has gone."""
        if reader.writer.is_closing():
            return MAXIMUM_WAITING + 1
        return reader.writer.transport.get_write_buffer_size()

    def _write(self, reader: _Reader, copies: list[Captured], offset: int) -> None:
        waiting = self._waiting(reader)
        blocks = []
        _note_own_addresses(reader.own, copies)
        for copy in copies:
            if reader.packets == reader.wish.count:
                break
            if copy.what.is_frame == reader.wish.outer:
                continue
            number = 0 if reader.wish.outer else reader.interfaces.get(copy.port)
            if number is None:
                continue
            if waiting > MAXIMUM_WAITING:
                reader.lost += 1
                continue
            block = self._block(reader, number, copy, offset)
            waiting += len(block)
            blocks.append(block)
            reader.packets += 1
        if blocks:
            reader.writer.write(b"".join(blocks))

    # --- how it is written ----------------------------------------------------------------------

    def _head(self, reader: _Reader) -> bytes:
        wish, node = reader.wish, self._node
        blocks = [pcapng.section(f"wgvx {__version__}")]
        if wish.outer:
            said = f"WireGuard of node {node.config.name}, UDP port {node.listen_port}"
            blocks.append(
                pcapng.interface(pcapng.LINKTYPE_RAW, node.config.name, said, wish.snaplen)
            )
            private_key = node.engine.device.private_key
            if wish.keys and private_key is not None:
                # Whoever answers a handshake knows its keys only after it has come.
                line = f"{own_line(private_key)}\n".encode()
                blocks.append(pcapng.secrets(pcapng.WIREGUARD_KEY_LOG, line))
            return b"".join(blocks)
        for network, attach, port in node.attachments:
            if wish.vni in (None, network.vni):
                reader.interfaces[port] = len(reader.interfaces)
                said = f"{describe(attach)['type']} of VNI {network.vni}, node {node.config.name}"
                link = pcapng.LINKTYPE_ETHERNET
                blocks.append(pcapng.interface(link, attach.name, said, wish.snaplen))
        return b"".join(blocks)

    def _tail(self, reader: _Reader) -> Iterator[bytes]:
        """What was lost is not known by interface: each says it."""
        for number in range(len(reader.interfaces) or 1):
            yield pcapng.statistics(
                number, time.time_ns(), received=reader.packets + reader.lost, lost=reader.lost
            )

    def _block(self, reader: _Reader, number: int, copy: Captured, offset: int) -> bytes:
        inbound = copy.what in (Passed.FRAME_IN, Passed.DATAGRAM_IN)
        direction = pcapng.INBOUND if inbound else pcapng.OUTBOUND
        data, length = copy.data[: reader.wish.snaplen], copy.length
        if copy.endpoint is not None:
            there = copy.endpoint.ip, copy.endpoint.port
            here = reader.own[copy.endpoint.ip], self._node.listen_port
            data, length = _packet(copy, data, *((there, here) if inbound else (here, there)))
        return pcapng.packet(number, copy.at + offset, data, length, direction)


def _note_own_addresses(own: dict[bytes, bytes], copies: list[Captured]) -> None:
    """The address that we have on a peer's side is known when it was heard. Before that it is
    written as none, and then remains so: Wireshark opens no session whose ends change.
    """
    if len(own) > MAXIMUM_ADDRESSES:
        own.clear()
    for copy in copies:
        endpoint = copy.endpoint
        if endpoint is not None and endpoint.local and any(own.get(endpoint.ip, b"\1")):
            own[endpoint.ip] = endpoint.local
    for copy in copies:
        if copy.endpoint is not None:
            own.setdefault(copy.endpoint.ip, bytes(len(copy.endpoint.ip)))


def _packet(
    copy: Captured, data: bytes, source: tuple[bytes, int], destination: tuple[bytes, int]
) -> tuple[bytes, int]:
    """The datagram, and its length, with headers like those that it had between two addresses and
    ports. The checksum of one that was cut is left out.
    """
    whole = data + bytes(copy.length - len(data))
    segment = udp.build(source[0], destination[0], source[1], destination[1], whole)
    if len(data) < copy.length:
        segment = segment[:6] + bytes(2) + segment[8:]
    packet = _with_tos(ip.build(source[0], destination[0], PROTOCOL_UDP, segment), copy.tos)
    return packet[: len(packet) - copy.length + len(data)], len(packet)


def _with_tos(packet: bytes, tos: int) -> bytes:
    if packet[0] >> 4 == 6:
        return bytes((0x60 | tos >> 4, (tos & 0xF) << 4)) + packet[2:]
    header = packet[:1] + bytes((tos,)) + packet[2:10] + bytes(2) + packet[12:20]
    return header[:10] + ip.checksum(header).to_bytes(2, "big") + packet[12:]

"""Workers under traffic while Python edits all tables: nothing breaks, and nothing is mixed up.

Two nodes with two workers each, over UDP on the loopback; a pair of sockets stands for each queue
of a TAP. What matters most of this is what the sanitizers say (``./dev sanitize``).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread
from typing import Any

import pytest

from tests.dataplane.rig import VNI, Peer, frame_to, mac, packet, tunnel
from tests.dataplane.steps.flows import TYPES, inner_packet, super_frame
from tests.support.dataplanes import NATIVE
from tests.support.segmenter import TCP, UDP, VnetHeader, segment
from tests.vxlan.packets import BROADCAST, ethernet
from wgvx.dataplane.interface import Framing, Network
from wgvx.drops import Reason
from wgvx.vxlan.icmp import echo_request
from wgvx.wireguard import cookie
from wgvx.wireguard.crypto import mac as mac_of
from wgvx.wireguard.sessions import CookieDemand, Endpoint

WORKERS = 2
SECONDS = float(os.environ.get("WGVX_STRESS", "1"))
UDP_GRO = 104
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Node:
    """A data plane whose workers run, and the far ends of its TAP's queues."""

    def __init__(self, plane: Any, number: int, stack: ExitStack) -> None:
        self.plane = plane
        self.number = number
        self.queues: list[socket.socket] = []
        self.sockets: list[socket.socket] = []
        plane.set_addresses([tunnel(number), tunnel(number, 6)])
        plane.set_public_key(bytes(32))
        plane.add_network(Network(VNI, max_entries=8))
        plane.add_port(VNI, 1, mac(number))
        plane.use_gso(64)
        for worker in range(1, WORKERS + 1):
            near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            wire.bind(("127.0.0.1", 0))
            with suppress(OSError):
                wire.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            for opened in (near, far, wire):
                opened.setblocking(False)
                stack.enter_context(opened)
            self.queues.append(far)
            self.sockets.append(wire)
            offloads = frozenset(("tso", "uso"))
            plane.attach_port(worker, 1, near.fileno(), Framing.VNET, offloads)
            plane.attach_socket(worker, 4, wire.fileno())

    def endpoint(self, worker: int) -> Endpoint:
        return Endpoint(socket.inet_aton("127.0.0.1"), self.sockets[worker].getsockname()[1])


class Pair:
    """Node 1 reaches node 2 as peers 2 and 3: each a session, and a socket of the other's."""

    def __init__(self, make: Any, stack: ExitStack) -> None:
        self.one, self.other = (Node(make(), number, stack) for number in (1, 2))
        self.ends = {2: Peer(2), 3: Peer(3)}
        for number in self.ends:
            for node, there in ((self.one, self.other), (self.other, self.one)):
                node.plane.add_peer(number)
                node.plane.set_endpoint(number, there.endpoint(number - 2))
            self.rekey(number)
        self.one.plane.add_allowed_ip(2, (tunnel(2), 32))
        self.one.plane.add_allowed_ip(3, (tunnel(2, 6), 128))
        self.other.plane.add_allowed_ip(2, (tunnel(1), 32))
        self.other.plane.add_allowed_ip(3, (tunnel(1, 6), 128))
        for family in (4, 6):
            self.one.plane.fdb_add(VNI, bytes(6), tunnel(2, family))
            self.other.plane.fdb_add(VNI, bytes(6), tunnel(1, family))

    def rekey(self, number: int) -> None:
        session, keys = self.ends[number].new_session(initiator=True, now=now())
        # Who answers is ready before who asked.
        self.other.plane.install(
            number,
            local_index=session.local_index,
            remote_index=session.remote_index,
            keys=session.keys,
            initiator=False,
            now=now(),
        )
        self.one.plane.install(
            number,
            local_index=session.remote_index,
            remote_index=session.local_index,
            keys=keys,
            initiator=True,
            now=now(),
        )


def entries(node: Node) -> list[bytes]:
    """Broadcasts, TCP of two flows, which may be joined, and super-frames; behind their headers."""
    there = 3 - node.number
    made = [frame_to(BROADCAST, node.number), frame_to(there, node.number, b"")]
    for version in (4, 6):
        for n in range(8):
            flow = inner_packet(version, TCP, 0, 1000, n, n * 1000)
            made.append(
                ethernet(flow, TYPES[version], destination=mac(there), source=mac(node.number))
            )
    large = (
        super_frame(protocol, size, 1300, station=mac(there), source=mac(node.number))
        for protocol, size in ((TCP, 30000), (UDP, 20000))
    )
    return [
        *(VnetHeader().pack() + frame for frame in made),
        *(header.pack() + frame for header, frame in large),
    ]


def cut(entry: bytes) -> list[bytes]:
    """The frames that came in one read, or went in one write."""
    return segment(VnetHeader.unpack(entry[:10]), entry[10:])


def push(node: Node, stop: Event) -> None:
    """Frames into every queue, as fast as they go."""
    made = entries(node)
    while not stop.is_set():
        for queue in node.queues:
            for frame in made:
                try:
                    queue.send(frame)
                except BlockingIOError:
                    time.sleep(0)


def pull(node: Node, stop: Event, seen: set[bytes]) -> None:
    """What comes out of every queue: virtio-net headers and frames."""
    while not stop.is_set():
        for queue in node.queues:
            try:
                while True:
                    seen.add(queue.recv(70000))
            except BlockingIOError:
                time.sleep(0)


def disturb(pair: Pair, stop: Event) -> None:
    """Datagrams of nobody, of all sorts, from the sockets of both."""
    initiation = b"\1" + bytes(147)
    mac1 = mac_of(cookie.mac1_key(bytes(32)), initiation[:-32])
    sorts = [
        b"",
        b"\4\0\0\0\0\0\2\0" + bytes(40),
        initiation,
        initiation[:-32] + mac1 + bytes(16),
        bytes(1400),
        b"\3" + bytes(63),
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        while not stop.is_set():
            for node in (pair.one, pair.other):
                for there in node.sockets:
                    for sort in sorts:
                        wire.sendto(sort, there.getsockname())
            time.sleep(0.001)


def edit(pair: Pair, turn: int) -> None:
    """All that Python does to a data plane, some of it each time."""
    for node in (pair.one, pair.other):
        plane, extra = node.plane, 100 + turn % 3
        plane.add_peer(extra)
        plane.set_endpoint(extra, node.endpoint(0))
        plane.add_allowed_ip(extra, (tunnel(77), 32))
        # More specific than what leads to the peers: of nobody that there is.
        plane.add_allowed_ip(extra, (tunnel(78, 6), 128))
        plane.fdb_add(VNI, mac(9), tunnel(77))
        plane.fdb_rows(VNI, now())
        plane.drops()
        plane.network_counters(VNI)
        for peer in (2, 3):
            plane.stamps(peer)
            plane.endpoint(peer)
            plane.allowed_ips(peer)
            plane.send_staged(peer, now(), or_keepalive=turn % 2 == 0)
        plane.fdb_delete(VNI, mac(9))
        if turn % 4 == 0:
            plane.fdb_flush(VNI)
        plane.age(now())
        plane.collect(now())
        plane.remove_peer(extra)
        plane.demand_cookies(CookieDemand(bytes(32), bytes(32), now() + turn % 2 * 10**9))
    if turn % 8 == 0 and turn < 8 * 250:
        pair.rekey(2 + turn // 8 % 2)
    if turn % 16 == 5:
        # Packets are staged until the next session, on both sides.
        pair.one.plane.forget_keys(2)
        pair.other.plane.forget_keys(2)
        pair.one.plane.set_mtu(1420 - turn // 16 % 2)
    if turn % 16 == 7:
        worker = turn % WORKERS
        pair.one.plane.attach_socket(worker + 1, 4, -1)
        pair.one.plane.attach_socket(worker + 1, 4, pair.one.sockets[worker].fileno())


@pytest.fixture(params=NATIVE)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with ExitStack() as stack:
        made = Pair(request.param, stack)
        yield made


def test_traffic_and_edits_at_once(pair: Pair) -> None:
    nodes, stop = (pair.one, pair.other), Event()
    seen: dict[int, set[bytes]] = {1: set(), 2: set()}
    threads = [Thread(target=disturb, args=(pair, stop))]
    for node in nodes:
        node.plane.start(WORKERS)
        threads.append(Thread(target=push, args=(node, stop)))
        threads.append(Thread(target=pull, args=(node, stop, seen[node.number])))
    for thread in threads:
        thread.start()
    try:
        end, turn = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            edit(pair, turn)
            turn += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for node in nodes:
            node.plane.stop()
    for node, there in (nodes, nodes[::-1]):
        sent = {frame for entry in entries(there) for frame in cut(entry)}
        assert seen[node.number], "nothing came through"
        assert sent.issuperset(frame for entry in seen[node.number] for frame in cut(entry))
        drops = {reason.value for reason, count in node.plane.drops().items() if count}
        assert drops.isdisjoint({"bad_checksum", "not_vxlan", "inner_malformed", "reserved_bits"})


def test_probes_while_frames_are_sent(pair: Pair) -> None:
    """Each is sent alone with DF set, and its echo comes back by way of Python at both ends."""
    nodes, stop = (pair.one, pair.other), Event()
    sender = Thread(target=push, args=(pair.one, stop))
    for node in nodes:
        node.plane.start(WORKERS)
    sender.start()
    echoes: list[int] = []
    try:
        for number in range(5):
            rest = bytes([number]) * (1296 - 24)
            request = echo_request(tunnel(1), tunnel(2), rest)
            probe = packet(request, 1, source=1, destination=2)
            assert len(probe) == 1296
            deadline = time.monotonic() + 10
            while len(echoes) == number:
                assert time.monotonic() < deadline
                pair.one.plane.expect_echo(2, tunnel(2), rest)
                assert pair.one.plane.send_probe(2, probe, now()) is None
                for _ in range(20):
                    pair.other.plane.collect(now())
                    echoes += pair.one.plane.collect(now()).echoes
                    time.sleep(0.001)
        assert pair.one.plane.send_probe(9, probe, now()) is Reason.NO_ENDPOINT
    finally:
        stop.set()
        sender.join()
        for node in nodes:
            node.plane.stop()
    assert echoes == [2] * 5
    usual = {wire.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) for wire in pair.one.sockets}
    assert IP_PMTUDISC_PROBE not in usual
    assert not pair.one.plane.drops()[Reason.UNREACHABLE]

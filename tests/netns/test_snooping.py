"""Multicast among real hosts: a Linux bridge that asks who listens, and wireguard-go with the
kernel's VXLAN device at one end, which snoops nothing.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from tests.netns.lab import Lab, Namespace, eventually
from tests.netns.nodes import VNI, WgvxNode
from tests.netns.traffic import ETH_P_ALL, PACKET_IGNORE_OUTGOING, SOL_PACKET, assert_ping
from tests.netns.vxlan_nodes import GoNode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

GROUPS = {4: "239.1.2.3", 6: "ff15::1:42"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
DATAGRAMS = 20
_streams = count(1)


@dataclass(frozen=True)
class Place:
    """An interface of a host on the overlay."""

    host: Namespace
    interface: str

    @property
    def number(self) -> int:
        with self.host.entered():
            return socket.if_nametoindex(self.interface)

    def send(self, family: int, payload: bytes) -> None:
        """A stream to the group, out of this interface."""
        with contextlib.closing(self.host.socket(FAMILIES[family], socket.SOCK_DGRAM)) as sender:
            if family == 4:
                out = struct.pack("4s4si", bytes(4), bytes(4), self.number)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, out)
            else:
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self.number)
            for _ in range(DATAGRAMS):
                sender.sendto(payload, (GROUPS[family], 5000))
                time.sleep(0.002)

    @contextlib.contextmanager
    def listens(self, family: int) -> Iterator[None]:
        """A member of the group, who leaves at the end."""
        group = socket.inet_pton(FAMILIES[family], GROUPS[family])
        with contextlib.closing(self.host.socket(FAMILIES[family], socket.SOCK_DGRAM)) as member:
            if family == 4:
                request = struct.pack("4s4si", group, bytes(4), self.number)
                member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            else:
                request = group + struct.pack("i", self.number)
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            yield


@dataclass(frozen=True)
class World:
    """A sender and a port of one node, a bridge behind another, a kernel's VXLAN device."""

    asking: WgvxNode
    sender: Place
    port: Place
    behind: Place
    """The TAP in the bridge."""
    kernel: Place

    def counts(self, family: int) -> tuple[int, int, int]:
        """How many datagrams of a stream come to the port, the bridge and the kernel's device."""
        payload = b"stream %d." % next(_streams)
        with contextlib.ExitStack() as stack:
            ears = []
            for place in (self.port, self.behind, self.kernel):
                ear = place.host.socket(socket.AF_PACKET, socket.SOCK_RAW)
                stack.enter_context(contextlib.closing(ear))
                ear.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
                ear.bind((place.interface, ETH_P_ALL))
                ears.append(ear)
            self.sender.send(family, payload)
            time.sleep(0.5)
            return tuple(_heard(ear, payload) for ear in ears)  # type: ignore[return-value]

    def reaches(
        self, family: int, port: bool, behind: bool, kernel: bool, what: str, timeout: float = 15
    ) -> None:
        """A whole stream comes to those and none of it to the others, before long."""
        wanted = tuple(DATAGRAMS * there for there in (port, behind, kernel))
        seen: list[tuple[int, int, int]] = []

        def does() -> bool:
            seen.append(self.counts(family))
            return seen[-1] == wanted

        eventually(does, f"{what}: {wanted} of {seen}", timeout)

    def ask(self, on: bool) -> None:
        """The bridge is a querier, or none any more."""
        kind = ("type", "bridge", "mcast_querier", str(int(on)))
        self.asking.host.ip("link", "set", "br0", *kind)


def _heard(ear: socket.socket, payload: bytes) -> int:
    ear.setblocking(False)
    heard = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            heard += payload in ear.recv(65536)
    return heard


@pytest.fixture
def world(lab: Lab) -> World:
    hosts = lab.host("a"), lab.host("b"), lab.host("c")
    lab.lan(*hosts)
    a, b = WgvxNode(hosts[0], "a", 1), WgvxNode(hosts[1], "b", 2)
    c = GoNode(hosts[2], "c")
    a.host.ip("link", "add", "br0", "type", "bridge")
    # Queries every two seconds, answered within one; the newest versions tell that in each.
    times = ("mcast_query_interval", "200", "mcast_query_response_interval", "100")
    versions = ("mcast_igmp_version", "3", "mcast_mld_version", "2")
    more = ("mcast_startup_query_interval", "100", "mcast_last_member_interval", "50")
    a.host.ip("link", "set", "br0", "type", "bridge", *times, *versions, *more)
    a.host.ip("address", "add", f"{a.address[4]}/24", "dev", "br0")
    a.host.ip("address", "add", f"{a.address[6]}/64", "dev", "br0", "nodad")
    a.host.ip("link", "set", "br0", "up")
    a.networks[0] = {"vni": VNI, "tap": a.tap, "bridge": "br0", "snooping": True}
    taps = f"{b.tap[:12]}.1", f"{b.tap[:12]}.2"
    attach = [{"type": "tap", "name": tap} for tap in taps]
    b.networks[0] = {"vni": VNI, "attach": attach, "snooping": True}
    for one in (a, b):
        for other in (a, b, c):
            if one is not other:
                one.add_peer(other.id, underlay=4)
    c.start()
    for node in (a, b):
        c.add_peer(node.id, underlay=4)
        node.start()
    for number, tap in enumerate(taps):
        b.host.ip("address", "add", f"10.0.0.{20 + number}/24", "dev", tap)
    assert_ping(c.place, a.address[4])
    assert_ping(b.place, c.address[4])
    sender, port = (Place(b.host, tap) for tap in taps)
    return World(a, sender, port, Place(a.host, a.tap), Place(hosts[2], c.tap))


@pytest.mark.parametrize("family", [4, 6])
def test_groups_reach_who_listens(world: World, family: int) -> None:
    world.reaches(family, True, True, True, "nobody asks")
    world.ask(True)
    world.reaches(family, False, True, False, "nobody listens, and a router gets all")
    with world.kernel.listens(family):
        world.reaches(family, False, True, True, "one listens over the tunnel")
        with world.port.listens(family):
            world.reaches(family, True, True, True, "and one here")
            time.sleep(6)  # Longer than a member is remembered: both are asked, and answer.
            assert world.counts(family) == (DATAGRAMS, DATAGRAMS, DATAGRAMS)
        world.reaches(family, False, True, True, "the one here left")
    world.reaches(family, False, True, False, "the other left, too")
    with world.port.listens(family):
        world.reaches(family, True, True, False, "the listener has moved")
    world.ask(False)
    world.reaches(family, True, True, True, "nobody asks any more")

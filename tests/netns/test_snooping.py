"""Multicast among real hosts: a Linux bridge asks who listens, and at one end there is another node
of ours, or wireguard-go with the kernel's VXLAN device, which snoops nothing.
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
    """A sender and a port of one node, a bridge behind another, and a node far away."""

    asking: WgvxNode
    sender: Place
    port: Place
    behind: Place
    """The TAP in the bridge."""
    far: Place

    def counts(self, family: int) -> tuple[int, int, int]:
        """How many datagrams of a stream come to the port, the bridge and the far node."""
        payload = b"stream %d." % next(_streams)
        with contextlib.ExitStack() as stack:
            ears = []
            for place in (self.port, self.behind, self.far):
                ear = place.host.socket(socket.AF_PACKET, socket.SOCK_RAW)
                stack.enter_context(contextlib.closing(ear))
                ear.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
                ear.bind((place.interface, ETH_P_ALL))
                ears.append(ear)
            self.sender.send(family, payload)
            heard = [0] * len(ears)
            # What is late, on a busy machine, is not lost.
            while any(new := [_heard(ear, payload) for ear in ears]):
                heard = [before + more for before, more in zip(heard, new, strict=True)]
            port, behind, far = heard
            return port, behind, far

    def reaches(
        self, family: int, port: bool, behind: bool, far: bool, what: str, timeout: float = 15
    ) -> None:
        """A whole stream comes to those and none of it to the others, before long."""
        wanted = tuple(DATAGRAMS * there for there in (port, behind, far))
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
    """How often a payload comes in, until nothing else does for a while."""
    ear.settimeout(0.3)
    heard = 0
    with contextlib.suppress(TimeoutError):
        while True:
            heard += payload in ear.recv(65536)
    return heard


NEWEST = ("mcast_igmp_version", "3", "mcast_mld_version", "2")
"""Their queries tell how often they come."""
OLDER = ("mcast_igmp_version", "2", "mcast_mld_version", "1")
"""Hosts that are asked so keep silent where they hear another's report."""


def make_world(lab: Lab, versions: tuple[str, ...], far: type[WgvxNode] | type[GoNode]) -> World:
    hosts = lab.host("a"), lab.host("b"), lab.host("c")
    lab.lan(*hosts)
    a, b = WgvxNode(hosts[0], "a", 1), WgvxNode(hosts[1], "b", 2)
    c = GoNode(hosts[2], "c") if far is GoNode else WgvxNode(hosts[2], "c", 3)
    a.host.ip("link", "add", "br0", "type", "bridge")
    # Queries every two seconds, answered within one.
    times = ("mcast_query_interval", "200", "mcast_query_response_interval", "100")
    more = ("mcast_startup_query_interval", "100", "mcast_last_member_interval", "50")
    a.host.ip("link", "set", "br0", "type", "bridge", *times, *versions, *more)
    a.host.ip("address", "add", f"{a.address[4]}/24", "dev", "br0")
    a.host.ip("address", "add", f"{a.address[6]}/64", "dev", "br0", "nodad")
    a.host.ip("link", "set", "br0", "up")
    a.networks[0] = {"vni": VNI, "tap": a.tap, "bridge": "br0", "snooping": True}
    taps = f"{b.tap[:12]}.1", f"{b.tap[:12]}.2"
    attach = [{"type": "tap", "name": tap} for tap in taps]
    b.networks[0] = {"vni": VNI, "attach": attach, "snooping": True}
    ours = [node for node in (a, b, c) if isinstance(node, WgvxNode)]
    for node in ours:
        for other in (a, b, c):
            if node is not other:
                node.add_peer(other.id, underlay=4)
    if isinstance(c, WgvxNode):
        c.networks[0]["snooping"] = True
    else:
        c.start()
        for node in ours:
            c.add_peer(node.id, underlay=4)
    for node in ours:
        node.start()
    for number, tap in enumerate(taps):
        b.host.ip("address", "add", f"10.0.0.{20 + number}/24", "dev", tap)
    assert_ping(c.place, a.address[4])
    assert_ping(b.place, c.address[4])
    sender, port = (Place(b.host, tap) for tap in taps)
    return World(a, sender, port, Place(a.host, a.tap), Place(hosts[2], c.tap))


@pytest.mark.parametrize("family", [4, 6])
def test_groups_reach_who_listens(lab: Lab, family: int) -> None:
    world = make_world(lab, NEWEST, GoNode)
    world.reaches(family, True, True, True, "nobody asks")
    world.ask(True)
    world.reaches(family, False, True, False, "nobody listens, and a router gets all")
    with world.far.listens(family):
        world.reaches(family, False, True, True, "one listens over the tunnel")
        with world.port.listens(family):
            world.reaches(family, True, True, True, "and one here")
            time.sleep(6)  # Longer than a member is remembered: both are asked, and answer.
            assert all(world.counts(family))  # A busy machine may lose some, a node all.
        world.reaches(family, False, True, True, "the one here left")
    world.reaches(family, False, True, False, "the other left, too")
    with world.port.listens(family):
        world.reaches(family, True, True, False, "the listener has moved")
    world.ask(False)
    world.reaches(family, True, True, True, "nobody asks any more")


@pytest.mark.parametrize("family", [4, 6])
def test_older_reports_silence_nobody(lab: Lab, family: int) -> None:
    world = make_world(lab, OLDER, WgvxNode)
    world.ask(True)
    world.reaches(family, False, True, False, "nobody listens")
    with world.far.listens(family):
        world.reaches(family, False, True, True, "one listens over the tunnel")
        with world.port.listens(family):
            world.reaches(family, True, True, True, "and one here")
            time.sleep(5)
            assert all(world.counts(family))  # A busy machine may lose some, a node all.
        world.reaches(family, False, True, True, "the one here left")


@pytest.mark.parametrize("family", [4, 6])
def test_they_may_where_nobody_snoops(lab: Lab, family: int) -> None:
    """So the group goes everywhere: others may listen in silence."""
    world = make_world(lab, OLDER, GoNode)
    world.ask(True)
    world.reaches(family, False, True, False, "nobody listens")
    with world.far.listens(family):
        world.reaches(family, True, True, True, "one listens, and who knows who else")

"""Our address towards a peer, when the routes change: a data plane that is told, and no packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.netns.conftest import lab  # noqa: F401 - a fixture, found by its name
from tests.netns.lab import Lab, Namespace
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.route import route_interface
from wgvx.rtnetlink import Netlink
from wgvx.underlay import sources
from wgvx.underlay.inward import InwardRoutes
from wgvx.underlay.sources import SourceWatch
from wgvx.wireguard.sessions import Endpoint

FAR = socket.inet_aton("198.51.100.9")
PATIENCE = 5.0

pytestmark = pytest.mark.netns


@pytest.fixture
def host(lab: Lab) -> Iterator[Namespace]:  # noqa: F811
    """With two ways out, the first one taken."""
    made = lab.host("a")
    for number in (1, 2):
        made.ip("link", "add", f"d{number}", "type", "veth", "peer", "name", f"e{number}")
        for end in (f"d{number}", f"e{number}"):
            made.ip("link", "set", end, "up")
        made.ip("address", "add", f"192.0.{number}.1/24", "dev", f"d{number}")
    made.ip("route", "add", "198.51.100.0/24", "dev", "d1")
    with made.entered():
        yield made


def index(name: str) -> int:
    return socket.if_nametoindex(name)


def address(number: int) -> bytes:
    return socket.inet_aton(f"192.0.{number}.1")


class Watched:
    """Peers 1 to n, all of them heard on d1."""

    def __init__(self, count: int = 1) -> None:
        self.plane = ReferenceDataPlane()
        for peer in range(1, count + 1):
            self.plane.add_peer(peer)
            self.plane.set_endpoint(peer, Endpoint(FAR, 1000 + peer, 0, address(1), index("d1")))
        self.watch = SourceWatch(self.plane, lambda: range(1, count + 1), lambda: 0)

    def local(self, peer: int = 1) -> bytes:
        endpoint = self.plane.endpoint(peer)
        assert endpoint is not None
        return endpoint.local

    def hear(self, interface: str) -> None:
        """Peer 1, at our first address."""
        endpoint = Endpoint(FAR, 1001, 0, address(1), index(interface))
        self.plane.received_handshake(1, endpoint, 148, 0)

    async def until_given_up(self, peer: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.local(peer):
                await asyncio.sleep(0.005)


def test_the_kernel_tells_which_way_packets_leave(host: Namespace) -> None:
    with closing(Netlink()) as netlink:

        def way(far: str = "198.51.100.9", local: bytes = address(1), mark: int = 0) -> int | None:
            return route_interface(netlink, socket.inet_aton(far), local, mark)

        assert way() == index("d1")
        assert way(local=socket.inet_aton("192.0.9.9")) is None
        assert way("203.0.113.1") is None
        host.ip("rule", "add", "fwmark", "7", "table", "9")
        host.ip("route", "add", "198.51.100.0/24", "dev", "d2", "table", "9")
        # Nothing of one answer is left for the next.
        assert [way(mark=mark) for mark in (7, 0, 7)] == [index("d2"), index("d1"), index("d2")]


def test_the_address_goes_with_the_route_and_stays_otherwise(host: Namespace) -> None:
    async def scenario() -> None:
        watched = Watched()
        try:
            host.ip("route", "add", "203.0.113.0/24", "dev", "d2")
            await asyncio.sleep(0.1)
            assert watched.local() == address(1)
            host.ip("route", "add", "198.51.100.9/32", "dev", "d2")
            await watched.until_given_up()
        finally:
            await watched.watch.close()

    asyncio.run(scenario())


def test_what_was_on_its_way_does_not_bring_it_back(host: Namespace) -> None:
    async def scenario() -> None:
        watched = Watched()
        try:
            host.ip("route", "add", "198.51.100.9/32", "dev", "d2")
            await watched.until_given_up()
            watched.hear("d1")
            assert not watched.local()
            watched.hear("d2")
            assert not watched.local(), "nothing was sent from another address"
            watched.plane.send_handshake(1, bytes(148), 0)
            watched.hear("d1")
            assert not watched.local()
            watched.hear("d2")
            assert watched.local(), "it is called there, and that is the way"
        finally:
            await watched.watch.close()

    asyncio.run(scenario())


def test_it_comes_back_with_the_route(host: Namespace) -> None:
    async def scenario() -> None:
        watched = Watched()
        try:
            host.ip("route", "add", "198.51.100.9/32", "dev", "d2")
            await watched.until_given_up()
            host.ip("route", "del", "198.51.100.9/32", "dev", "d2")
            async with asyncio.timeout(PATIENCE):
                while not watched.local():
                    watched.hear("d1")
                    await asyncio.sleep(0.005)
        finally:
            await watched.watch.close()

    asyncio.run(scenario())


def test_all_of_many_peers_are_looked_at(host: Namespace) -> None:
    async def scenario() -> None:
        count = 2 * sources.SLICE + 1
        watched = Watched(count)
        try:
            host.ip("link", "set", "d1", "down")
            host.ip("route", "add", "198.51.100.0/24", "dev", "d2")
            for peer in (1, count):
                await watched.until_given_up(peer)
        finally:
            await watched.watch.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_route_into_our_own_overlay_is_told_once(
    host: Namespace, family: int, caplog: pytest.LogCaptureFixture
) -> None:
    far, length = ("198.51.100.9", 32) if family == socket.AF_INET else ("2001:db8::9", 128)
    host.ip("route", "replace", f"{far}/{length}", "dev", "d1")
    inward = InwardRoutes({index("d2"): "d2"}, lambda peer: f"peer {peer}")

    async def scenario() -> None:
        plane = ReferenceDataPlane()
        plane.add_peer(1)
        plane.set_endpoint(1, Endpoint(socket.inet_pton(family, far), 1001))
        watch = SourceWatch(plane, lambda: [1], lambda: 0, inward)
        try:
            for device, told in (("d1", 0), ("d2", 1), ("d2", 1), ("d1", 1), ("d2", 2)):
                host.ip("route", "replace", f"{far}/{length}", "dev", device)
                async with asyncio.timeout(PATIENCE):
                    while len(caplog.messages) < told:
                        await asyncio.sleep(0.005)
                await asyncio.sleep(0.1)
                assert len(caplog.messages) == told
        finally:
            await watch.close()

    asyncio.run(scenario())
    assert caplog.messages[0].startswith("the route to peer 1 leads into d2, our own overlay")

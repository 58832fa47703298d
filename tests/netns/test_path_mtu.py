"""A path whose MTU falls and rises, behind a router that nobody at the ends sees."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.netns.lab import Lab, Namespace, eventually
from tests.netns.nodes import WgvxNode
from tests.netns.traffic import assert_ping, copy_over_tcp, ping
from tests.netns.vxlan_nodes import GoNode
from tests.support.dataplanes import NATIVE_MISSING

TOOLS = ("iptables", "tcpdump")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(MISSING), reason=f"missing: apt-get install -y {' '.join(MISSING)}"),
]

TUNNEL = 1420
SMALL = 1440
"""Of the link behind the router."""
CARRIED = {4: 1376, 6: 1360}
"""By the underlay: what is left of 1440 for a tunnel packet, in steps of 16."""
SOON = """\
from wgvx.paths import probes, search
probes.LOOK_EVERY = search.SECOND
search.CONFIRM_EVERY = 2 * search.SECOND
search.RAISE_EVERY = 6 * search.SECOND
"""
"""Read by Python at its start: what takes minutes takes seconds."""

native = pytest.param(
    ("--workers", "2"),
    marks=pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING),
    id="native",
)
reference = pytest.param(("--dataplane", "reference"), id="reference")


@dataclass
class Router:
    """Joins two hosts, each alone on its link."""

    place: Namespace
    hosts: tuple[Namespace, ...]

    def join(self) -> None:
        self.place.sysctl("net/ipv4/ip_forward", "1")
        self.place.sysctl("net/ipv6/conf/all/forwarding", "1")
        for host in self.hosts:
            link = f"to{host.index}"
            host.ip("link", "add", "eth0", "type", "veth", "peer", link, "netns", self.place.name)
            host.ip("link", "set", "eth0", "up")
            self.place.ip("link", "set", link, "up")
            for family, router in ((4, "192.0.2.254"), (6, "2001:db8::fe")):
                length = "32" if family == 4 else "128"
                host.ip("address", "add", f"{host.address(family)}/{length}", "dev", "eth0")
                host.ip(f"-{family}", "route", "add", router, "dev", "eth0")
                host.ip(f"-{family}", "route", "add", "default", "via", router, "dev", "eth0")
                self.place.ip("address", "add", f"{router}/{length}", "dev", link)
        self.carry(1500)

    def carry(self, mtu: int) -> None:
        """Packets for either host may be so large from now on."""
        for host in self.hosts:
            for family in (4, 6):
                way = (host.address(family), "dev", f"to{host.index}", "mtu", str(mtu))
                self.place.ip(f"-{family}", "route", "replace", *way)

    def keep_silent(self) -> None:
        """Say nothing of packets that are too large."""
        rule = ("-A", "OUTPUT", "-j", "DROP", "-p")
        self.place.run("iptables", *rule, "icmp", "--icmp-type", "fragmentation-needed")
        self.place.run("ip6tables", *rule, "icmpv6", "--icmpv6-type", "packet-too-big")


def path_mtu(node: WgvxNode, other: WgvxNode | GoNode) -> Any:
    return node.peer(other.id)["path_mtu"]


def tap_mtu(node: WgvxNode) -> int:
    (link,) = node.host.ip_json("link", "show", node.tap)
    return int(link["mtu"])


def in_use(node: WgvxNode, other: WgvxNode | GoNode, wanted: int, timeout: float = 60) -> None:
    """Ping until the path is known to carry so much, no more and no less."""
    deadline = time.monotonic() + timeout
    while path_mtu(node, other) != wanted:
        assert time.monotonic() < deadline, (path_mtu(node, other), node.process)
        command = ("ping", "-n", "-q", "-c", "10", "-i", "0.02", "-W", "1", "-s", "1000")
        other.place.run(*command, node.address[4], check=False)


def started(
    lab: Lab,
    kind: str,
    underlay: int,
    options: tuple[str, ...],
    *,
    slowly: bool = False,
    overlay: int = 4,
    **keys: object,
) -> tuple[Router, WgvxNode, WgvxNode | GoNode]:
    near, far, between = lab.host("a"), lab.host("b"), lab.host("r")
    router = Router(between, (near, far))
    router.join()
    ours = WgvxNode(near, "a", 1, overlay=overlay)
    ours.node |= keys
    theirs: WgvxNode | GoNode = (
        WgvxNode(far, "b", 2, overlay=overlay)
        if kind == "wgvx"
        else GoNode(far, "g", overlay=overlay)
    )
    near.write("sitecustomize.py", SOON.partition("search.CONFIRM")[0] if slowly else SOON)
    near.env["PYTHONPATH"] = str(near.folder)
    ours.add_peer(theirs.id, underlay=underlay)
    if isinstance(theirs, GoNode):
        theirs.start()
    else:
        theirs.add_peer(ours.id, underlay=None)
        theirs.start(*options)
    ours.start(*options)
    if isinstance(theirs, GoNode):
        theirs.add_peer(ours.id, underlay=underlay)
    assert_ping(far, ours.address[4])
    return router, ours, theirs


@pytest.mark.parametrize("options", [native, reference])
@pytest.mark.parametrize("kind", ["wgvx", "go"])
@pytest.mark.parametrize(
    ("underlay", "silent"),
    [
        pytest.param(4, False, id="fragments"),
        pytest.param(6, False, id="told"),
        pytest.param(6, True, id="black hole"),
    ],
)
def test_the_mtu_follows_the_path(
    lab: Lab, kind: str, underlay: int, silent: bool, options: tuple[str, ...]
) -> None:
    router, ours, theirs = started(lab, kind, underlay, options)
    if silent:
        router.keep_silent()
    in_use(ours, theirs, TUNNEL)
    assert (tap_mtu(ours), ours.network()["mtu"]) == (1350, 1350)
    copy_over_tcp(ours.host, theirs.host, theirs.address[4], 1_000_000)

    router.carry(SMALL)
    carried = CARRIED[underlay]
    in_use(ours, theirs, carried)
    assert ours.show()["tunnel_mtu"] == carried
    assert ours.network()["mtu"] == carried - 70
    eventually(lambda: tap_mtu(ours) == carried - 70, "the TAP has followed")
    assert ours.process is not None
    assert f"carries tunnel packets of {carried} bytes, not {TUNNEL}" in ours.process.stderr

    copy_over_tcp(ours.host, theirs.host, theirs.address[4], 1_000_000)

    router.carry(1500)
    in_use(ours, theirs, TUNNEL)
    eventually(lambda: tap_mtu(ours) == 1350, "the TAP has followed")
    copy_over_tcp(ours.host, theirs.host, theirs.address[4], 1_000_000)
    assert ours.drops("not_vxlan") == 0
    ours.stop()


@contextlib.contextmanager
def syns(host: Namespace, interface: str) -> Iterator[list[int]]:
    """Filled at the end with the MSS of every SYN that was seen."""
    found: list[int] = []
    command = ("tcpdump", "-n", "-l", "-v", "-i", interface, "tcp[tcpflags] & tcp-syn != 0")
    process = host.start(*command, log="tcpdump")
    eventually(lambda: "listening on" in process.stderr, "tcpdump listens")
    yield found
    eventually(lambda: len(re.findall(r"mss \d+", process.stdout)) >= 2, f"two SYNs: {process}")
    process.send_signal(signal.SIGINT)
    process.wait()
    found += [int(mss) for mss in re.findall(r"mss (\d+)", process.stdout)]


@pytest.mark.parametrize("options", [native, reference])
@pytest.mark.parametrize("kind", ["wgvx", "go"])
def test_tcp_fits_where_no_interface_follows(lab: Lab, kind: str, options: tuple[str, ...]) -> None:
    """Below 1280 a TAP would lose IPv6, and the kernel's VXLAN device never hears of it."""
    router, ours, theirs = started(lab, kind, 6, options)
    router.keep_silent()
    address = theirs.address[4]
    with syns(theirs.host, theirs.tap) as seen:
        copy_over_tcp(ours.host, theirs.host, address, 100_000)
    assert seen == [1310, 1310]

    router.carry(1400)
    in_use(ours, theirs, 1312)
    assert (tap_mtu(ours), ours.network()["mtu"]) == (1280, 1242)
    with syns(theirs.host, theirs.tap) as there, syns(ours.host, ours.tap) as here:
        copy_over_tcp(ours.host, theirs.host, address, 1_000_000)
    assert (there, here) == ([1202, 1310], [1240, 1202])
    copy_over_tcp(theirs.host, ours.host, ours.address[4], 1_000_000)
    ours.stop()


def test_what_the_route_is_told_is_a_hint(lab: Lab) -> None:
    """The peer is asked again long before it would be, and only what comes back counts."""
    router, ours, theirs = started(lab, "go", 6, (), slowly=True)
    in_use(ours, theirs, TUNNEL)
    router.carry(SMALL)
    ping(ours.host, theirs.address[4], size=1300)  # The router answers that it is too large.
    in_use(ours, theirs, CARRIED[6], timeout=40)
    router.carry(1500)
    forged = ("route", "replace", theirs.id.address[6], "via", "2001:db8::fe", "dev", "eth0")
    ours.host.ip("-6", *forged, "mtu", "1300")
    in_use(ours, theirs, TUNNEL, timeout=40)
    ours.stop()


@pytest.mark.parametrize("options", [(), ("--confine", "none")])
def test_a_rootless_node_s_follows_too(lab: Lab, options: tuple[str, ...]) -> None:
    router, ours, theirs = started(lab, "go", 6, ("--rootless", *options))
    router.carry(SMALL)
    in_use(ours, theirs, CARRIED[6])
    link = ours.wgvx("exec", ours.name, "--", "ip", "link", "show", ours.tap).stdout
    assert "mtu 1290 " in link
    ours.stop()


def test_a_fixed_mtu_stays(lab: Lab) -> None:
    router, ours, theirs = started(lab, "go", 4, (), overlay=6, mtu=TUNNEL, probe_mtu=True)
    router.carry(SMALL)
    in_use(ours, theirs, CARRIED[4])
    assert ours.show()["tunnel_mtu"] == TUNNEL
    assert (tap_mtu(ours), ours.network()["mtu"]) == (1350, 1350)
    assert ours.process is not None
    assert "[node] mtu stays 1420: larger packets may be lost" in ours.process.stderr
    ours.stop()

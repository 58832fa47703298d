"""What lies between two hosts besides a cable: a router, which may narrow the path or translate."""

from __future__ import annotations

from tests.netns.lab import Lab, Namespace

TRANSLATE = """
table inet nat {
    chain out {
        type nat hook postrouting priority srcnat
        oifname "%s" masquerade fully-random
    }
}
"""
FORGETS_AFTER = 2
"""Seconds that the router remembers a mapping without traffic."""


def port(host: Namespace) -> str:
    """The router's interface towards a host."""
    return f"port{host.index}"


def join_by_router(lab: Lab, *hosts: Namespace, mtu: int = 1500) -> Namespace:
    """A router between hosts that keep the lab's addresses, as if they were on one LAN: it answers
    ARP and neighbour discovery in the name of those behind it.

    Whatever is longer than ``mtu`` it cuts or refuses, while the cables carry 1500.
    """
    router = lab.host("router")
    for key in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
        router.sysctl(f"net/{key}", "1")
    for host in hosts:
        leg = port(host)
        host.ip("link", "add", "eth0", "type", "veth", "peer", leg, "netns", router.name)
        host.ip("link", "set", "eth0", "up")
        router.ip("link", "set", leg, "up")
        for family, own, length in ((4, 32, 24), (6, 128, 64)):
            nodad = ("nodad",) if family == 6 else ()
            host.ip("address", "add", f"{host.address(family)}/{length}", "dev", "eth0", *nodad)
            router.ip("address", "add", f"{router.address(family)}/{own}", "dev", leg, *nodad)
            router.ip("route", "add", f"{host.address(family)}/{own}", "dev", leg, "mtu", str(mtu))
        router.sysctl(f"net/ipv4/conf/{leg}/proxy_arp", "1")
        router.sysctl(f"net/ipv4/neigh/{leg}/proxy_delay", "0")
        router.sysctl(f"net/ipv6/conf/{leg}/proxy_ndp", "1")
        router.sysctl(f"net/ipv6/neigh/{leg}/proxy_delay", "0")
        for other in hosts:
            if other is not host:
                router.ip("neighbour", "add", "proxy", other.address(6), "dev", leg)
    return router


def translate(router: Namespace, outside: Namespace) -> None:
    """Hide whoever is inside behind the router's address: each mapping has a new port that nobody
    can foresee, and without one there is no way in."""
    router.run("nft", "-f", "-", stdin=TRANSLATE % port(outside))
    for timeout in ("udp_timeout", "udp_timeout_stream"):
        router.sysctl(f"net/netfilter/nf_conntrack_{timeout}", str(FORGETS_AFTER))

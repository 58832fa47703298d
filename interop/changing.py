"""What is changed on a node that runs: by wg(8), which speaks to every kind of node."""

from __future__ import annotations

from interop.peers import BoringtunNode, Far
from tests.netns.nodes import Identity, endpoint, host_prefix, private_key, tunnel_address
from tests.netns.traffic import mac_of


def wg_set(node: Far, *settings: str) -> None:
    """``wg set`` on a node."""
    node.place.run("wg", "set", node.name, *settings)


def change_key(node: Far) -> None:
    """Give a node a new private key; nobody else is told."""
    node.id.private = private_key()
    file = node.place.write(f"{node.name}.key", node.id.private + "\n")
    wg_set(node, "private-key", str(file))


def set_peer(node: Far, other: Identity, *settings: str) -> None:
    """Change a peer; boringtun panics at that, so there it is removed and added again."""
    if isinstance(node, BoringtunNode):
        forget(node, other.public)
        acquaint(node, other, *settings)
    else:
        wg_set(node, "peer", other.public, *settings)


def set_psk(node: Far, other: Identity, psk: str | None) -> None:
    """The key that the next handshake with a peer uses; None: no key."""
    file = "/dev/null"
    if psk is not None:
        file = str(node.place.write(f"{node.name}-{other.name}.psk", psk + "\n"))
    set_peer(node, other, "preshared-key", file)


def forget(node: Far, public_key: str) -> None:
    """Remove a peer, and with it sessions, stamps and cookies."""
    wg_set(node, "peer", public_key, "remove")


def acquaint(node: Far, other: Identity, *settings: str, underlay: int | None = 4) -> None:
    """Add a peer to a node that already has its VTEP in the flood list."""
    prefix = host_prefix(tunnel_address(other.index, node.overlay))
    where = [] if underlay is None else ["endpoint", endpoint(other.address[underlay], other.port)]
    wg_set(node, "peer", other.public, "allowed-ips", prefix, *where, *settings)


def silence(node: Far) -> None:
    """Nothing goes into the tunnel unasked: no IPv6, which talks by itself, on the overlay."""
    node.place.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{node.tap}/disable_ipv6")


def silence_both(a: Far, b: Far) -> None:
    """And no ARP either, as each knows the other's MAC for good."""
    for node, other in ((a, b), (b, a)):
        silence(node)
        known = ("lladdr", mac_of(other.place, other.tap), "dev", node.tap, "nud", "permanent")
        node.place.ip("neighbour", "replace", other.address[4], *known)

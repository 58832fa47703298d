"""A node as kernel WireGuard and kernel VXLAN: a file for wg-quick(8) and a script for iproute2."""

from __future__ import annotations

from collections.abc import Iterator

from wgvx.fleet.nodes import Network, Node, Peer
from wgvx.fleet.plan import Kind
from wgvx.fleet.template import filled
from wgvx.fleet.wgvx_file import HEADER

FOLDER = Kind.KERNEL.folder


def wg_quick_file(node: Node) -> str:
    """`NAME.conf`; it has keys in it."""
    return "\n".join([HEADER, *_interface(node), *_peers(node)]) + "\n"


def _interface(node: Node) -> Iterator[str]:
    yield "[Interface]"
    if node.private_key is not None:
        yield f"PrivateKey = {node.private_key}"
    else:
        yield f"PostUp = wg set %i private-key {FOLDER}/%i.key"
    yield f"ListenPort = {node.listen_port}"
    yield f"Address = {', '.join(node.addresses)}"
    yield f"MTU = {node.mtu}"
    yield f"PostUp = {FOLDER}/%i-vxlan.sh up"
    yield f"PreDown = {FOLDER}/%i-vxlan.sh down"


def _peers(node: Node) -> Iterator[str]:
    for peer in node.peers:
        yield f"\n# {peer.name}"
        yield from peer_section("[Peer]", peer, " = ")


def peer_section(title: str, peer: Peer, equals: str) -> Iterator[str]:
    """A peer with the keys of wg(8), which systemd.netdev(5) has too."""
    yield title
    yield f"PublicKey{equals}{peer.public_key}"
    if peer.preshared_key is not None:
        yield f"PresharedKey{equals}{peer.preshared_key}"
    if peer.endpoint is not None:
        yield f"Endpoint{equals}{peer.endpoint}"
    if peer.allowed_ips:
        yield f"AllowedIPs{equals}{', '.join(peer.allowed_ips)}"
    if peer.keepalive:
        yield f"PersistentKeepalive{equals}{peer.keepalive}"


def vxlan_script(node: Node) -> str:
    """`NAME-vxlan.sh`, which wg-quick(8) runs, and which may be run again after a change."""
    return filled(
        "vxlan.sh",
        node=node.name,
        vtep=node.vtep,
        devices=" ".join(network.name for network in node.networks),
        forward="\n".join(f"    {line}" for line in _forward(node)),
        networks="\n".join(f"    {line}" for one in node.networks for line in _network(one)),
    )


def _forward(node: Node) -> Iterator[str]:
    if not node.forward:
        yield ": # no hub: nothing is passed on"
        return
    yield "# A hub passes on from tunnel to tunnel, and need not tell anyone of a shorter way."
    yield 'sysctl -q -w "net.ipv4.conf.$wg.forwarding=1" "net.ipv4.conf.$wg.send_redirects=0"'
    if any(":" in address for address in node.addresses):
        yield "# IPv6 has one switch for all devices."
        yield "sysctl -q -w net.ipv6.conf.all.forwarding=1"


def _network(network: Network) -> Iterator[str]:
    name = network.name
    yield f"vxlan {name} {network.vni} {network.udp_port} {network.mtu} {network.mac}"
    if network.bridge is not None:
        yield f"ip link set dev {name} master {network.bridge}"
    else:
        yield f"addresses {name} {' '.join(network.addresses)}"
    yield " ".join(("flood", name, *network.remotes))

"""A node as kernel WireGuard and kernel VXLAN: files for systemd-networkd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wgvx.fleet.nodes import Network, Node
from wgvx.fleet.plan import Kind
from wgvx.fleet.wg_quick import peer_section
from wgvx.fleet.wgvx_file import HEADER


def networkd_files(node: Node) -> Iterator[tuple[str, str, bool]]:
    """Name, text, and whether there are keys in it, of each file for `/etc/systemd/network`."""
    yield f"50-{node.name}.netdev", _text(_wireguard(node)), True
    yield f"50-{node.name}.network", _text(_tunnel(node)), False
    for network in node.networks:
        yield f"60-{network.name}.netdev", _text(_vxlan(node, network)), False
        yield f"60-{network.name}.network", _text(_overlay(network)), False


def _text(lines: Iterator[str]) -> str:
    return "\n".join([HEADER, *lines]) + "\n"


def _wireguard(node: Node) -> Iterator[str]:
    yield "[NetDev]"
    yield f"Name={node.name}"
    yield "Kind=wireguard"
    yield f"MTUBytes={node.mtu}"
    yield "\n[WireGuard]"
    if node.private_key is not None:
        yield f"PrivateKey={node.private_key}"
    else:
        yield f"PrivateKeyFile={Kind.KERNEL.folder}/{node.name}.key"
    yield f"ListenPort={node.listen_port}"
    for peer in node.peers:
        yield f"\n# {peer.name}"
        yield from peer_section("[WireGuardPeer]", peer, "=")


def _tunnel(node: Node) -> Iterator[str]:
    yield from _link(node.name, node.addresses)
    yield "LinkLocalAddressing=no"
    if node.forward:
        yield "IPForward=yes"
    for network in node.networks:
        yield f"VXLAN={network.name}"


def _link(name: str, addresses: Iterable[str]) -> Iterator[str]:
    yield "[Match]"
    yield f"Name={name}"
    yield "\n[Network]"
    for address in addresses:
        yield f"Address={address}"


def _vxlan(node: Node, network: Network) -> Iterator[str]:
    yield "[NetDev]"
    yield f"Name={network.name}"
    yield "Kind=vxlan"
    yield f"MTUBytes={network.mtu}"
    yield f"MACAddress={network.mac}"
    yield "\n[VXLAN]"
    yield f"VNI={network.vni}"
    yield f"Local={node.vtep}"
    yield f"DestinationPort={network.udp_port}"
    yield "MacLearning=yes"
    yield "UDPChecksum=yes"
    yield "UDP6ZeroChecksumTx=no"
    yield "UDP6ZeroChecksumRx=no"


def _overlay(network: Network) -> Iterator[str]:
    yield from _link(network.name, network.addresses)
    if network.bridge is not None:
        yield f"Bridge={network.bridge}"
    for remote in network.remotes:
        yield "\n[BridgeFDB]"
        yield "MACAddress=00:00:00:00:00:00"
        yield f"Destination={remote}"

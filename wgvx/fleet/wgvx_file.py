"""A node as a file for `wgvx up`."""

from __future__ import annotations

import json
from collections.abc import Iterable

from wgvx.fleet.nodes import Network, Node, Peer
from wgvx.fleet.plan import Kind

HEADER = "# Written by wgvx fleet render: what is changed here is lost at the next one.\n"


def wgvx_file(node: Node) -> str:
    """The TOML; it has keys in it. A private key that stays on the node is named as a file."""
    if node.private_key is None:
        key = f'private_key_file = "{Kind.WGVX.folder}/{node.name}.key"'
    else:
        key = f'private_key = "{node.private_key}"'
    lines = [
        HEADER,
        "[node]",
        key,
        f"listen_port = {node.listen_port}",
        f"address = {_list(node.addresses)}",
        f"mtu = {node.mtu}",
    ]
    if node.forward:
        lines.append("forward = true")
    for peer in node.peers:
        lines += _peer(peer)
    for network in node.networks:
        lines += _network(network)
    return "\n".join(lines) + "\n"


def _peer(peer: Peer) -> Iterable[str]:
    yield "\n[[peer]]"
    yield f'name = "{peer.name}"'
    yield f'public_key = "{peer.public_key}"'
    if peer.preshared_key is not None:
        yield f'preshared_key = "{peer.preshared_key}"'
    if peer.endpoint is not None:
        yield f"endpoint = {json.dumps(peer.endpoint)}"
    yield f"allowed_ips = {_list(peer.allowed_ips)}"
    if peer.keepalive:
        yield f"persistent_keepalive = {peer.keepalive}"


def _network(network: Network) -> Iterable[str]:
    yield "\n[[network]]"
    yield f"vni = {network.vni}"
    yield f'tap = "{network.name}"'
    if network.addresses:
        yield f"address = {_list(network.addresses)}"
    if network.bridge is not None:
        yield f'bridge = "{network.bridge}"'
    yield f'mac = "{network.mac}"'
    yield f"mtu = {network.mtu}"
    yield f"udp_port = {network.udp_port}"
    yield f"remotes = {_list(network.remotes)}"
    yield f"accept = {_list(network.accept)}"
    for key, value in network.quiet.items():
        yield f"{key} = {json.dumps(value)}"


def _list(items: Iterable[str]) -> str:
    joined = '", "'.join(items)
    return f'["{joined}"]' if joined else "[]"

"""A fleet as a tree of files.

nodes/NAME/wgvx/        NAME.toml for wgvx up
nodes/NAME/wg-quick/    the same node as kernel WireGuard and VXLAN: for /etc/wireguard
nodes/NAME/networkd/    the same again, for /etc/systemd/network
nodes/NAME/compose/     the node as a container
nodes/NAME/kubernetes/  the node as a pod
systemd/, ansible/      how nodes are run, and how their files come to them
"""

from __future__ import annotations

from collections.abc import Iterator

from wgvx.fleet.deployment import container_files, fleet_files
from wgvx.fleet.files import SCRIPT_MODE, SECRET_MODE, File
from wgvx.fleet.networkd import networkd_files
from wgvx.fleet.nftables import nftables
from wgvx.fleet.nodes import Fleet, Node
from wgvx.fleet.wg_quick import vxlan_script, wg_quick_file
from wgvx.fleet.wgvx_file import wgvx_file


def tree(fleet: Fleet) -> dict[str, File]:
    """Every file of a fleet, by path."""
    found = dict(fleet_files(fleet.plan))
    for node in fleet.nodes():
        found.update(node_files(node, fleet.plan.image))
    return found


def node_files(node: Node, image: str) -> Iterator[tuple[str, File]]:
    """Those of one node; `image` is what its container runs."""
    name, top = node.name, f"nodes/{node.name}"
    toml = wgvx_file(node)
    yield f"{top}/wgvx/{name}.toml", File(toml, SECRET_MODE)
    yield f"{top}/wg-quick/{name}.conf", File(wg_quick_file(node), SECRET_MODE)
    yield f"{top}/wg-quick/{name}-vxlan.sh", File(vxlan_script(node), SCRIPT_MODE)
    filter_file = File(nftables(node))
    yield f"{top}/wg-quick/{name}.nft", filter_file
    for file, text, secret in networkd_files(node):
        yield f"{top}/networkd/{file}", File(text, SECRET_MODE) if secret else File(text)
    yield f"{top}/networkd/{name}.nft", filter_file
    for file, content in container_files(node, image, toml):
        yield f"{top}/{file}", content

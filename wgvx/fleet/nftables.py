"""Who may send to a tenant where the kernel carries it.

The kernel's VXLAN device hears every peer of the WireGuard device under it: it has nothing like
`accept`. So nftables has: a VXLAN packet from the tunnel is let in if its VNI and its source belong
together, and dropped if not.
"""

from __future__ import annotations

from wgvx.fleet.nodes import Node
from wgvx.fleet.wgvx_file import HEADER

VNI_FIELD = "@th,96,24"
"""The VNI, as nftables reads it out of a UDP packet: after the UDP header and four bytes of
VXLAN's, 24 bits (RFC 7348, section 5)."""


def nftables(node: Node) -> str:
    """The filter, as `nft -f` takes it: it takes the place of an earlier one at once."""
    table = f"inet wgvx-{node.name}"
    family = "ip6" if ":" in node.vtep else "ip"
    rules = [
        f'iifname "{node.name}" udp dport {one.udp_port} {VNI_FIELD} {one.vni} '
        f"{family} saddr {{ {', '.join(one.accept)} }} accept"
        for one in node.networks
    ]
    rules += [
        f'iifname "{node.name}" udp dport {port} counter drop'
        for port in sorted({one.udp_port for one in node.networks})
    ]
    lines = "".join(f"        {rule}\n" for rule in rules)
    return (
        f"{HEADER}\ntable {table}\ndelete table {table}\ntable {table} {{\n    chain input {{\n"
        f"        type filter hook input priority filter; policy accept;\n{lines}    }}\n}}\n"
    )

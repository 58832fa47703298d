"""The implementations that wgvx meets."""

from __future__ import annotations

import time

from benchmarks.compare.obtain import boringtun, newest_wireguard_go
from interop.matches import BORINGTUN, GO, NEWEST_GO, ONE
from tests.netns.nodes import WgvxNode
from tests.netns.vxlan_nodes import DaemonNode, VxlanNode

TUN_MTU = 1500
"""What Linux gives a new TUN device."""

CLING = (GO, NEWEST_GO, BORINGTUN)
"""These go on sending from an address that their host no longer has: wireguard-go by IP_PKTINFO,
boringtun by a connected socket (ENETUNREACH for either), until something else moves them. Nor does
the newest wireguard-go answer reliably once the family has changed: it sends some of its datagrams
to an address of which it has kept the first four bytes."""
CHANGEABLE = tuple(match for match in ONE if match.far != BORINGTUN)
"""The matches in which peers can be changed: boringtun panics when one that it has is to be."""

Far = VxlanNode | WgvxNode
"""The far end of a pair: both are configured and asked by the same calls."""


class NewestGoNode(DaemonNode):
    """wireguard-go as the Go module proxy has it."""

    def command(self) -> list[str]:
        return [newest_wireguard_go()[0], "-f", self.name]


class BoringtunNode(DaemonNode):
    """Cloudflare's, in Rust."""

    def command(self) -> list[str]:
        return [boringtun()[0], "--foreground", "--disable-drop-privileges", self.name]

    def start(self) -> None:
        super().start()
        if self.tunnel_mtu > TUN_MTU:
            # It reads no more of a packet than its device's MTU, which it looks up each second.
            time.sleep(1.2)


class KernelNode(VxlanNode):
    """Linux itself."""

    def make_device(self) -> None:
        self.place.ip("link", "add", self.name, "type", "wireguard")

    def remove_device(self) -> None:
        self.place.ip("link", "del", self.name)

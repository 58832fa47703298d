"""A node of the kernel's own WireGuard and VXLAN, in any place whose kernel has both."""

from __future__ import annotations

from tests.netns.vxlan_nodes import VxlanNode


class KernelNode(VxlanNode):
    """Linux itself."""

    def make_device(self) -> None:
        self.place.ip("link", "add", self.name, "type", "wireguard")

    def remove_device(self) -> None:
        self.place.ip("link", "del", self.name)

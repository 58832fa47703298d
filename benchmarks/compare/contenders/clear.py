"""The two that encrypt nothing: the cable itself, and the kernel's VXLAN on it."""

from __future__ import annotations

import platform

from benchmarks.compare.contenders.base import OVERLAY_MTU, Contender
from benchmarks.compare.lab import Host
from benchmarks.compare.obtain import Missing

VXLAN_PORT = 4789


class Raw(Contender):
    """The bare veth pair, the measure of the machine."""

    name = "raw"
    title = "raw veth"
    mtu = 1500

    def other(self, host: Host) -> str:
        a, b = self.ends
        return b.label if host is a else a.label

    def device(self, host: Host) -> str:
        return f"to-{self.other(host)}"

    def address(self, host: Host) -> str:
        return host.addresses[self.other(host)]

    def prepare(self) -> str:
        return f"Linux {platform.release()}"

    def start(self) -> None:
        """The lab's cables are there already."""


class ClearVxlan(Contender):
    """The kernel's VXLAN device on the bare cable."""

    name = "vxlan"
    title = "kernel VXLAN, in clear"

    def prepare(self) -> str:
        return f"Linux {platform.release()}"

    def start(self) -> None:
        for host, other in self.pairs:
            local, remote = host.addresses[other.label], other.addresses[host.label]
            add_vxlan(self, host, f"to-{other.label}", local, remote)


def add_vxlan(contender: Contender, host: Host, under: str, local: str, remote: str) -> None:
    """The contender's device at a host: the kernel's VXLAN over another interface."""
    kind = ("type", "vxlan", "id", str(4200 + contender.number), "dstport", str(VXLAN_PORT))
    try:
        ends = ("dev", under, "local", local, "remote", remote)
        host.ip("link", "add", contender.device(host), *kind, *ends)
    except RuntimeError as error:
        raise Missing(f"the kernel makes no VXLAN device: {error}", "modprobe vxlan") from error
    host.give(contender.device(host), contender.address(host), OVERLAY_MTU)

"""WireGuards that are a network interface: wireguard-go, boringtun, the kernel's own.

Alone they carry IP (Layer 3); with the kernel's VXLAN device on top they carry Ethernet.
"""

from __future__ import annotations

import platform

from benchmarks.compare.contenders.base import OVERLAY_MTU, TUNNEL_MTU, Contender, Victim
from benchmarks.compare.contenders.clear import add_vxlan
from benchmarks.compare.contenders.keys import Key, new_key
from benchmarks.compare.lab import UAPI_SOCKETS, Host, Lab, unique
from benchmarks.compare.obtain import (
    Missing,
    boringtun,
    debian,
    debian_version,
    newest_wireguard_go,
)
from benchmarks.compare.processes import Process, run, wait_for

Peering = tuple[Key, str, list[str]]
"""A peer's key, its endpoint, and the addresses behind it."""


class WireGuard(Contender):
    """A WireGuard interface at both ends. What a subclass says is how to make one."""

    vxlan = True

    def __init__(self, lab: Lab, number: int) -> None:
        super().__init__(lab, number)
        self.keys = {host.label: new_key() for host in (lab.a, lab.b, lab.hub)}
        self.mtu = OVERLAY_MTU if self.vxlan else TUNNEL_MTU
        self.program = ""

    def command(self, device: str) -> list[str]:
        """Runs it for one device, in the foreground."""
        raise NotImplementedError

    def make_device(self, host: Host, device: str) -> Process | None:
        """The interface, and its daemon, if it needs one."""
        daemon = host.start(*self.command(device))
        wait_for((UAPI_SOCKETS / f"{device}.sock").is_socket, f"{self.name} answers", daemon)
        return daemon

    def start(self) -> None:
        for host, other in self.pairs:
            device = self.under(host)
            endpoint = f"{other.addresses[host.label]}:{self.port}"
            peers = [(self.keys[other.label], endpoint, [self.inner(other)])]
            self.add_wireguard(host, device, self.inner(host), peers)
            if self.vxlan:
                add_vxlan(self, host, device, self.inner(host), self.inner(other))

    def under(self, host: Host) -> str:
        """The WireGuard device. Its UAPI socket has its name for all namespaces together."""
        return unique(f"{host.label[0]}{self.number}")

    def inner(self, host: Host) -> str:
        """The WireGuard device's own address."""
        if not self.vxlan:
            return self.address(host)
        hosts = (self.lab.a, self.lab.b, self.lab.hub)
        return f"10.{100 + self.number}.0.{hosts.index(host) + 1}"

    def add_wireguard(self, host: Host, device: str, address: str, peers: list[Peering]) -> None:
        """Make the device and tell it its peers."""
        daemon = self.make_device(host, device)
        if daemon is not None:
            self.daemons.append(daemon)
        key = self.lab.folder / f"{device}.key"
        key.touch(0o600)
        key.write_text(self.keys[host.label].private_text)
        host.run("wg", "set", device, "private-key", str(key), "listen-port", str(self.port))
        for peer, endpoint, behind in peers:
            place = ("peer", peer.public_text, "endpoint", endpoint)
            allowed = ",".join(f"{one}/32" for one in behind)
            host.run("wg", "set", device, *place, "allowed-ips", allowed)
        host.give(device, address, TUNNEL_MTU)

    def victim(self) -> Victim | None:
        b = self.lab.b
        address = b.addresses[self.lab.crowd.label]
        return Victim(address, self.port, self.keys[b.label].public)


class NewestWireguardGo(WireGuard):
    """wireguard-go from the Go proxy with the kernel's VXLAN: what everything is held against."""

    name = "wireguard-go+vxlan"
    title = "wireguard-go + kernel VXLAN"

    def prepare(self) -> str:
        debian("wg", "wireguard-tools")
        self.program, version = newest_wireguard_go()
        return version

    def command(self, device: str) -> list[str]:
        return [self.program, "-f", device]


class WireguardGoAlone(NewestWireguardGo):
    """The same without VXLAN: IP alone, and so none of Ethernet's freedom."""

    name = "wireguard-go-l3"
    title = "wireguard-go alone (Layer 3)"
    vxlan = False

    def device(self, host: Host) -> str:
        return self.under(host)


class DebianWireguardGo(WireGuard):
    """wireguard-go as Debian has it."""

    name = "debian-wireguard-go+vxlan"
    title = "Debian's wireguard-go + kernel VXLAN"

    def prepare(self) -> str:
        debian("wg", "wireguard-tools")
        self.program = debian("wireguard-go", "wireguard-go")
        return debian_version("wireguard-go")

    def command(self, device: str) -> list[str]:
        return [self.program, "-f", device]


class Boringtun(WireGuard):
    """boringtun-cli with the kernel's VXLAN."""

    name = "boringtun+vxlan"
    title = "boringtun + kernel VXLAN"

    def prepare(self) -> str:
        debian("wg", "wireguard-tools")
        self.program, version = boringtun()
        return version

    def command(self, device: str) -> list[str]:
        return [self.program, "--foreground", "--disable-drop-privileges", device]


class KernelWireGuard(WireGuard):
    """The kernel's WireGuard with its VXLAN, where the host has both."""

    name = "kernel-wireguard+vxlan"
    title = "kernel WireGuard + kernel VXLAN"

    def prepare(self) -> str:
        debian("wg", "wireguard-tools")
        # The modules may be there and not loaded: making one is the only sure way to know.
        probe = unique("probe")
        try:
            run("ip", "link", "add", probe, "type", "wireguard")
        except RuntimeError as error:
            reason = str(error).rpartition(": ")[2].rstrip(".")
            why = f"the kernel makes no WireGuard device: {reason}"
            raise Missing(why, "modprobe wireguard, on a kernel that has it") from error
        run("ip", "link", "del", probe)
        return f"Linux {platform.release()}"

    def make_device(self, host: Host, device: str) -> Process | None:
        host.ip("link", "add", device, "type", "wireguard")
        return None


class WireguardGoHub(NewestWireguardGo):
    """wireguard-go and VXLAN at the ends; at the hub wireguard-go and the kernel's forwarding."""

    def start(self) -> None:
        a, b, hub = self.lab.a, self.lab.b, self.lab.hub
        for host, other in self.pairs:
            device = self.under(host)
            endpoint = f"{hub.addresses[host.label]}:{self.port}"
            behind = [self.inner(other), self.inner(hub)]
            self.add_wireguard(
                host, device, self.inner(host), [(self.keys[hub.label], endpoint, behind)]
            )
            add_vxlan(self, host, device, self.inner(host), self.inner(other))
        peers = [
            (self.keys[end.label], f"{end.addresses[hub.label]}:{self.port}", [self.inner(end)])
            for end in (a, b)
        ]
        self.add_wireguard(hub, self.under(hub), self.inner(hub), peers)
        hub.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

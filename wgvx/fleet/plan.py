"""What a plan says, checked and with its defaults filled in.

A plan is what an operator decides. What follows from it - numbers, keys, peers, MTUs - is worked
out by the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wgvx.config import Address, EndpointName, Prefix


class Kind(StrEnum):
    """What a site runs."""

    WGVX = "wgvx"
    KERNEL = "kernel"
    """The kernel's WireGuard and VXLAN devices."""

    @property
    def folder(self) -> str:
        """Where such a node has its files."""
        return {Kind.WGVX: "/etc/wgvx", Kind.KERNEL: "/etc/wireguard"}[self]

    def make_key(self, stem: str) -> str:
        """What to type on such a node for a private key that stays there; it prints the public
        one."""
        tool = {Kind.WGVX: "wgvx", Kind.KERNEL: "wg"}[self]
        file = f"{self.folder}/{stem}.key"
        return f"(umask 077; {tool} genkey > {file}) && {tool} pubkey < {file}"


class Topology(StrEnum):
    """Who has a tunnel to whom."""

    MESH = "mesh"
    """Everyone to everyone, but for two of which neither has an endpoint."""
    HUB_AND_SPOKE = "hub-and-spoke"
    """Each spoke to one hub, and the hubs to one another."""


class PrivateKeys(StrEnum):
    """Where private keys are made and kept."""

    HERE = "here"
    """In the folder of keys beside the plan."""
    NODES = "nodes"
    """Each on its own node; only public keys come back."""


@dataclass(frozen=True, slots=True)
class Site:
    """`[[site]]`: one place with one node, both of this name."""

    name: str
    kind: Kind
    endpoint: EndpointName | None
    """None: behind NAT, it calls and cannot be called."""
    listen_port: int
    keepalive: int
    """Seconds between its keepalives, 0 for none."""
    hub: bool
    via: str | None
    """The hub that a spoke belongs to; None: one is chosen and kept."""
    underlay: tuple[Prefix, ...]
    """The networks that its hosts are in."""
    underlay_mtu: int
    tunnel: Address | None
    """The tunnel address that it has to have; None: one is assigned and kept."""
    public_key: bytes | None
    """Where its private key stays on the node."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """`[[tenant]]`: one Layer 2, on some of the sites."""

    name: str
    """Of the interface on each node too."""
    vni: int
    prefixes: tuple[Prefix, ...]
    """Of the overlay addresses, one of a family at most."""
    sites: tuple[str, ...]
    """In the plan's order."""
    reserved: tuple[Prefix, ...]
    """Parts of the prefixes of which nothing is assigned."""
    bridge: str | None
    """The interface becomes a member of it and has no address."""
    udp_port: int
    quiet: Mapping[str, bool | int]
    """By key of a node's network; nodes that run the kernel's VXLAN have none of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole file."""

    path: Path
    tunnel: tuple[Prefix, ...]
    """Of the tunnel addresses, one of a family at most. VXLAN runs between those of the first."""
    topology: Topology
    private_keys: PrivateKeys
    preshared_keys: bool
    image: str
    """The container image that compose and Kubernetes run."""
    sites: dict[str, Site]
    tenants: dict[str, Tenant]
    digest: str
    """Of the file's text, hex."""

    @property
    def hubs(self) -> tuple[Site, ...]:
        """Those that relay; none in a mesh."""
        return tuple(site for site in self.sites.values() if site.hub)

    @property
    def name(self) -> str:
        """The plan's file without its suffix; what belongs to it is called after it."""
        return self.path.stem

    def beside(self, suffix: str) -> Path:
        """A file or folder of this plan, in the plan's own folder."""
        return self.path.with_name(f"{self.name}.{suffix}")

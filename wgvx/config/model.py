"""What a configuration file says, checked and with its defaults filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from pathlib import Path
from typing import ClassVar

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """`[node]`. Keys are 32 bytes and kept out of `repr`."""

    private_key: bytes = field(repr=False)
    listen_port: int
    """0: any free port."""
    addresses: tuple[Interface, ...]
    """The tunnel (VTEP) addresses; a packet's source is the first of the remote's family."""
    mtu: int | None
    """Tunnel MTU; None: from the routes (`wgvx.mtu.tunnel_mtu`)."""
    fwmark: int
    forward: bool
    state_dir: Path | None
    probe_mtu: bool = False
    """Peers are asked what the paths to them carry; of a file, True unless it says `mtu`."""


@dataclass(frozen=True, slots=True)
class EndpointName:
    """Where somebody is reached or listens, as configured."""

    host: str
    """A name or a numeric address, without brackets; "" is every address."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this host reaches it; no name but one is looked at."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """`[[peer]]`."""

    public_key: bytes
    name: str | None
    preshared_key: bytes | None = field(repr=False)
    endpoint: EndpointName | None
    allowed_ips: tuple[Prefix, ...]
    """Host bits masked, each once."""
    persistent_keepalive: int
    """Seconds; 0: off."""


SocketAddress = Path | EndpointName
"""A Unix socket's path, absolute, or host and port."""


@dataclass(frozen=True, slots=True)
class TapAttach:
    """A TAP: made, adopted, or passed in."""

    name: str
    mac: bytes
    """Six bytes, configured or derived."""
    type: ClassVar[str] = "tap"


@dataclass(frozen=True, slots=True)
class StreamAttach:
    """A VM's socket, as of QEMU's `-netdev stream`. The MAC is the VM's own affair."""

    name: str
    address: SocketAddress
    listen: bool
    """Wait there for the VM, or go there to find it."""
    mac: None = None
    type: ClassVar[str] = "stream"


@dataclass(frozen=True, slots=True)
class DgramAttach:
    """A VM's socket, as of QEMU's `-netdev dgram`."""

    name: str
    local: SocketAddress
    remote: SocketAddress
    mac: None = None
    type: ClassVar[str] = "dgram"


@dataclass(frozen=True, slots=True)
class Forward:
    """A port that is listened on, and where its connections go to, as of ssh's -L and -R."""

    listen: EndpointName
    target: EndpointName

    def __str__(self) -> str:
        """As it may be written in a file."""
        return f"{self.listen}:{self.target}"


@dataclass(frozen=True, slots=True)
class StackAttach:
    """A TCP/IP stack in this process, and the ways to use it without any interface."""

    name: str
    mac: bytes
    addresses: tuple[Interface, ...]
    gateways: tuple[Address, ...]
    """One of a family at most."""
    dns: tuple[Address, ...]
    """Resolvers on the overlay; none: the host's."""
    socks5: EndpointName | None
    """Where a SOCKS5 proxy listens on the host."""
    http: EndpointName | None
    """The same for HTTP CONNECT."""
    forward: tuple[Forward, ...]
    """From the host into the overlay, as of `ssh -L`."""
    reverse: tuple[Forward, ...]
    """From the overlay to the host, as of `ssh -R`."""
    type: ClassVar[str] = "stack"


AttachConfig = TapAttach | StreamAttach | DgramAttach | StackAttach
"""Where a network's frames enter and leave."""


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """A static entry of the forwarding database."""

    mac: bytes
    vtep: Address


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """`[[network]]`: one VNI, one bridge domain."""

    vni: int
    attach: tuple[AttachConfig, ...]
    addresses: tuple[Interface, ...]
    mtu: int | None
    """Overlay MTU; None: the tunnel's less 70."""
    bridge: str | None
    netns: str | None
    udp_port: int
    remotes: tuple[Address, ...] | None
    """None: followed from the peers (`default_remotes`)."""
    accept: tuple[Prefix, ...] | None
    """None: any peer's VTEP is heard."""
    fdb: tuple[FdbEntry, ...]
    learning: bool
    ageing: int
    """Seconds."""
    max_entries: int
    sticky: bool = False
    """A learned station stays where it is until its row has aged."""
    move_limit: int = 0
    """Moves within three minutes after which a station is held where it is; 0: none."""
    broadcast_limit: int = 0
    """Frames a second from each attachment and each VTEP; 0: none. So the next two."""
    multicast_limit: int = 0
    unknown_limit: int = 0
    suppress: bool = False
    """ARP and neighbour solicitations are answered from what was seen."""
    snooping: bool = False
    """Groups reach their members alone (IGMP, MLD)."""
    clamp_mss: bool = True
    """TCP connections through the tunnel are held to the overlay MTU in force."""
    loop_detection: bool = False
    """Probes are sent out of attachments; one that comes back blocks its attachment."""


@dataclass(frozen=True, slots=True)
class Config:
    """One node's file."""

    name: str
    path: Path
    """Absolute."""
    node: NodeConfig
    peers: tuple[PeerConfig, ...]
    networks: tuple[NetworkConfig, ...]
    warnings: tuple[str, ...]
    """What is valid yet hardly meant, one sentence each."""

    @property
    def attachments(self) -> list[AttachConfig]:
        """Those of all networks, in order."""
        return [attach for network in self.networks for attach in network.attach]


def not_a_hosts(address: Interface) -> str | None:
    """Whose address it is, where it cannot be a host's: the network's own, or its broadcast
    address. None where it can."""
    network = address.network
    if network.max_prefixlen - network.prefixlen < 2:
        return None  # a host, or a point-to-point link (RFC 3021, RFC 6164)
    if address.ip == network.network_address:
        return "that of the network itself"
    if address.version == 4 and address.ip == network.broadcast_address:
        return "the broadcast address of its network"
    return None


def derive_mac(public_key: bytes, vni: int, attachment: str) -> bytes:
    """The MAC of an attachment whose MAC is not configured: the same at every start.

    Six bytes: BLAKE2s-48 over the node's public key, the VNI in 32 bits big-endian and the
    attachment's name, made locally administered (bit 1 set) and unicast (bit 0 clear).
    """
    seed = public_key + vni.to_bytes(4, "big") + attachment.encode()
    digest = hashlib.blake2s(seed, digest_size=6, person=b"wgvx mac").digest()
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:]


def default_remotes(node: NodeConfig, peers: Iterable[Iterable[Prefix]]) -> list[Address]:
    """The flood list of a network that names no remotes.

    `peers` are the allowed IPs of each peer, in order. For each peer the first /32 or /128 of a
    family in which the node has an address; a peer without one gives none.
    """
    families = {address.version for address in node.addresses}
    remotes: list[Address] = []
    for allowed_ips in peers:
        for prefix in allowed_ips:
            if prefix.prefixlen == prefix.max_prefixlen and prefix.version in families:
                remotes.append(prefix.network_address)
                break
    return remotes


def flood_list(config: Config, network: NetworkConfig) -> tuple[Address, ...]:
    """The remotes of `network` at start: those it names, else the default ones."""
    if network.remotes is not None:
        return network.remotes
    return tuple(default_remotes(config.node, (peer.allowed_ips for peer in config.peers)))

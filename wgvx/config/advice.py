"""What a file says that is valid yet hardly meant, and where its prefixes overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from itertools import combinations
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from wgvx import mtu
from wgvx.config.model import (
    Address,
    Config,
    Interface,
    NetworkConfig,
    PeerConfig,
    Prefix,
    StackAttach,
    TapAttach,
    flood_list,
    not_a_hosts,
)
from wgvx.config.places import places_of

_WHOEVER_REACHES = {
    "listen": "is the VM, with whatever MAC and address",
    "local": "is the VM, with whatever MAC and address",
    "socks5": "reaches the overlay",
    "http": "reaches the overlay",
    "forward": "speaks on the overlay, from the stack's address",
}
"""By the key that says where it is."""


def warnings(config: Config) -> list[str]:
    """One sentence for everything in `config` that is hardly meant."""
    found = [*_address_warnings("[node]", config.node.addresses), *_peer_warnings(config)]
    covered = PrefixIndex((p, peer) for peer in config.peers for p in peer.allowed_ips)
    for network in config.networks:
        found += _remote_warnings(config, network, covered)
        found += _address_warnings(f"network {network.vni}", network.addresses)
        found += _exposure_warnings(network)
        found += _netns_warnings(network)
    found += _endpoint_warnings(config)
    found += _shared_subnets(config.networks)
    found += mtu_warnings(config, config.node.mtu)
    return found


def mtu_warnings(config: Config, tunnel: int | None) -> list[str]:
    """What the MTUs mean for IPv6 and full frames, with `tunnel` as the tunnel's.

    With None it is not known yet, and only what the file alone decides is told. A caller that
    learned it from the routes asks again; what it was told already is worded the same.
    """
    found = []
    inner_v6 = any(address.version == 6 for address in config.node.addresses)
    if tunnel is not None and tunnel < mtu.IPV6_MINIMUM_MTU and inner_v6:
        found.append(
            f"tunnel MTU {tunnel} is below {mtu.IPV6_MINIMUM_MTU}: IPv6 will not run on it, "
            "and the node has an IPv6 tunnel address"
        )
    for network in config.networks:
        where = f"network {network.vni}"
        overlay = network.mtu
        if overlay is None:
            if tunnel is None:
                continue
            overlay = mtu.overlay_mtu(tunnel)
        if overlay < mtu.IPV6_MINIMUM_MTU:
            found.append(
                f"{where}: MTU {overlay} is below {mtu.IPV6_MINIMUM_MTU}: IPv6 will not run on it"
            )
        if tunnel is None:
            continue
        family = max((remote.version for remote in flood_list(config, network)), default=4)
        room = mtu.inner_room(tunnel, family)
        if overlay > room:
            found.append(
                f"{where}: MTU {overlay} is more than the {room} that a tunnel MTU of {tunnel} "
                "carries: larger frames will be dropped (too_big)"
            )
    return found


def overlaps(config: Config) -> list[str]:
    """Prefixes of the file that lie within one another, in sentences; not all are mistakes."""
    found = []
    labels = peer_labels(config)
    index = PrefixIndex((p, peer) for peer in config.peers for p in peer.allowed_ips)
    for peer in config.peers:
        for prefix in peer.allowed_ips:
            outer = index.wider(prefix)
            if outer is not None and outer[1] is not peer:
                found.append(
                    f"{prefix} of {labels[peer.public_key]} lies within {outer[0]} of "
                    f"{labels[outer[1].public_key]}: the longer prefix wins"
                )
    tunnel_prefixes = {address.network for address in config.node.addresses}
    for network in config.networks:
        for address in network.addresses:
            for prefix in tunnel_prefixes:
                if _overlap(address.network, prefix):
                    found.append(
                        f"network {network.vni}: {address.network} overlaps the tunnel's {prefix}: "
                        "allowed, the two never meet, but hard to read"
                    )
    return found


def peer_labels(config: Config) -> dict[bytes, str]:
    """How to call the peers, by public key: their names, else their places in the file."""
    return {
        peer.public_key: f'peer "{peer.name}"' if peer.name else f"peer {position}"
        for position, peer in enumerate(config.peers, 1)
    }


def _address_warnings(where: str, addresses: tuple[Interface, ...]) -> Iterator[str]:
    for address in addresses:
        if (whose := not_a_hosts(address)) is not None:
            yield f"{where}: address {address} is {whose}, no host's"


def _exposure_warnings(network: NetworkConfig) -> Iterator[str]:
    """Places that others than this host's users reach, and that ask nobody who he is."""
    for attach in network.attach:
        for key, realm, address in places_of(attach):
            if isinstance(address, Path) or realm == "overlay" or address.is_loopback:
                continue
            yield (
                f"network {network.vni}: {key} {address} is not on the loopback: whoever reaches "
                f"it {_WHOEVER_REACHES[key]}"
            )


def _netns_warnings(network: NetworkConfig) -> Iterator[str]:
    if network.netns is None or _has_tap(network):
        return
    where = f"network {network.vni}: netns {network.netns} is for a TAP, and there is none"
    if any(isinstance(one, StackAttach) for one in network.attach):
        where += ": the stack is in this process, its proxies and forwards are in this namespace"
    yield where


def _has_tap(network: NetworkConfig) -> bool:
    return any(isinstance(one, TapAttach) for one in network.attach)


def _peer_warnings(config: Config) -> Iterator[str]:
    names: set[str] = set()
    labels = peer_labels(config)
    probe = X25519PrivateKey.from_private_bytes(config.node.private_key)
    for peer in config.peers:
        label = labels[peer.public_key]
        if peer.name is not None:
            if peer.name in names:
                yield f"{label}: the name is given to more than one peer"
            names.add(peer.name)
        if not peer.allowed_ips:
            yield f"{label}: allowed_ips is empty: no packet is sent to it or accepted from it"
        try:
            probe.exchange(X25519PublicKey.from_public_bytes(peer.public_key))
        except ValueError:
            # RFC 7748, section 6.1: a point of low order gives an all-zero secret.
            yield f"{label}: public_key is a point of low order: no handshake will succeed"
        if any(
            prefix.prefixlen == prefix.max_prefixlen
            and any(prefix.network_address == own.ip for own in config.node.addresses)
            for prefix in peer.allowed_ips
        ):
            yield f"{label}: allowed_ips has this node's own address"


def _remote_warnings(config: Config, network: NetworkConfig, covered: PrefixIndex) -> Iterator[str]:
    where = f"network {network.vni}"
    own = {address.ip for address in config.node.addresses}
    remotes = flood_list(config, network)
    if not remotes:
        if not config.peers:
            origin, mend = "there is no peer", ""
        elif network.remotes is None:
            origin = "no peer has a /32 or /128 of a family this node has an address in"
            mend = "; set `remotes` in [[network]]"
        else:
            origin, mend = "written so", "; set `remotes` in [[network]], or leave it out"
        yield (
            f"{where}: remotes is empty ({origin}): broadcasts and frames to unknown addresses "
            f"go nowhere{mend}"
        )
    for remote in remotes:
        if remote in own:
            yield f"{where}: remotes has {remote}, this node's own address"
        elif covered.longest(remote) is None:
            yield f"{where}: remotes has {remote}, which no peer's allowed_ips covers"
        if network.accept and not any(remote in prefix for prefix in network.accept):
            yield f"{where}: remotes has {remote}, which accept leaves out: it is not heard"
    for entry in network.fdb:
        if entry.vtep in own:
            yield f"{where}: fdb has the VTEP {entry.vtep}, this node's own address"
        elif covered.longest(entry.vtep) is None:
            yield f"{where}: fdb has the VTEP {entry.vtep}, which no peer's allowed_ips covers"
    if network.accept == ():
        yield f"{where}: accept is empty: no VTEP is heard"


def _endpoint_warnings(config: Config) -> Iterator[str]:
    """Endpoints that the route of a TAP's own address would lead into the tunnel."""
    labels = peer_labels(config)
    for network in config.networks:
        if network.netns is not None or not _has_tap(network):
            continue  # The tunnel's own packets leave by the host's routes.
        for address in network.addresses:
            for peer in config.peers:
                if peer.endpoint is not None and _holds(address.network, peer.endpoint.host):
                    yield (
                        f"network {network.vni}: {address.network} holds the endpoint "
                        f"{peer.endpoint} of {labels[peer.public_key]}: unless the node runs "
                        "rootless, the tunnel is routed into itself"
                    )


def _shared_subnets(networks: tuple[NetworkConfig, ...]) -> Iterator[str]:
    for one, other in combinations(filter(_has_tap, networks), 2):
        if one.netns != other.netns:
            continue
        for mine in one.addresses:
            for theirs in other.addresses:
                if _overlap(mine.network, theirs.network):
                    yield (
                        f"network {other.vni}: {theirs.network} overlaps {mine.network} of network "
                        f"{one.vni} in the same namespace: one of the two will not be reached"
                    )


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _holds(prefix: Prefix, host: str) -> bool:
    try:
        return ip_address(host) in prefix
    except ValueError:
        return False


class PrefixIndex:
    """Longest-prefix match over the allowed IPs of all peers, for the checks above."""

    def __init__(self, entries: Iterable[tuple[Prefix, PeerConfig]]) -> None:
        self._entries: dict[tuple[int, int, int], tuple[Prefix, PeerConfig]] = {}
        lengths: dict[int, set[int]] = {4: set(), 6: set()}
        for prefix, peer in entries:
            network = int(prefix.network_address)
            self._entries[prefix.version, prefix.prefixlen, network] = (prefix, peer)
            lengths[prefix.version].add(prefix.prefixlen)
        # Only lengths that occur are tried: a file seldom has more than three.
        self._lengths = {version: sorted(found, reverse=True) for version, found in lengths.items()}

    def longest(self, address: Address) -> tuple[Prefix, PeerConfig] | None:
        """The longest prefix that holds `address`, and its peer."""
        return self._match(address, address.max_prefixlen)

    def wider(self, prefix: Prefix) -> tuple[Prefix, PeerConfig] | None:
        """The longest prefix shorter than `prefix` that holds it, and its peer."""
        return self._match(prefix.network_address, prefix.prefixlen - 1)

    def _match(self, address: Address, longest: int) -> tuple[Prefix, PeerConfig] | None:
        value, bits = int(address), address.max_prefixlen
        for length in self._lengths[address.version]:
            if length <= longest:
                network = value >> (bits - length) << (bits - length)
                if found := self._entries.get((address.version, length, network)):
                    return found
        return None

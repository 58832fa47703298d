"""What to do so that a running node is as its file says now: a pure function of the two.

The file is the truth, as for `wg syncconf`: whatever was changed while the node ran, by `wg set` or
`wgvx fdb`, goes. Sessions and learned endpoints are in no file and stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wgvx.config import (
    AttachConfig,
    Config,
    ConfigError,
    EndpointName,
    NetworkConfig,
    NodeConfig,
    PeerConfig,
    derive_mac,
    flood_list,
    peer_labels,
    quiet,
)
from wgvx.engine import packed_prefix
from wgvx.keys import encode, public_key
from wgvx.privilege.plan import is_address
from wgvx.vxlan.fdb import FLOOD
from wgvx.wireguard.allowed_ips import Prefix
from wgvx.wireguard.noise import NO_PRESHARED_KEY

Entry = tuple[bytes, bytes]
"""(MAC, packed VTEP); the MAC may be FLOOD."""

FIXED_OF_NODE = ("mtu", "state_dir")
FIXED_OF_NETWORK = ("attach", "addresses", "mtu", "bridge", "netns", "udp_port")
"""Fields that nothing can change while the node runs: interfaces take privileges that it has given
up, and what it opened stays open."""

KEYS = {"addresses": "address", "attach": "tap or attach"}
"""What a field is called in a file, where that differs."""


# --- what there is -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunningPeer:
    """A peer as the node has it now."""

    name: str | None = None
    preshared_key: bytes = field(default=NO_PRESHARED_KEY, repr=False)
    endpoint: EndpointName | None = None
    """As configured; None, too, where `wg set` gave it another."""
    allowed_ips: tuple[Prefix, ...] = ()
    persistent_keepalive: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A node as it is now."""

    config: Config
    """As last read."""
    public_key: bytes | None
    listen_port: int
    fwmark: int
    peers: Mapping[bytes, RunningPeer]
    """By public key."""
    entries: Mapping[int, frozenset[Entry]]
    """By VNI: the static entries, the flood list's among them."""
    own_macs: Mapping[int, frozenset[bytes]]
    """By VNI: those of the ports."""
    looks_up_names: bool


# --- what there is to do -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rebind:
    """Another UDP port, or another mark, or both."""

    listen_port: int
    fwmark: int


@dataclass(frozen=True, slots=True)
class RemovePeer:
    public_key: bytes


@dataclass(frozen=True, slots=True)
class SetPrivateKey:
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetNode:
    """Tunnel addresses, and whether packets are relayed."""

    node: NodeConfig


@dataclass(frozen=True, slots=True)
class SetNetwork:
    """Who is heard, and what is learned."""

    network: NetworkConfig


@dataclass(frozen=True, slots=True)
class AddPeer:
    """A new one with nothing but its key: the next steps give it the rest."""

    public_key: bytes


@dataclass(frozen=True, slots=True)
class SetPeer:
    """These fields of a peer: name, preshared_key, endpoint, persistent_keepalive."""

    peer: PeerConfig
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GiveAllowedIps:
    """Append these, in this order; whoever had one loses it."""

    public_key: bytes
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class TakeAllowedIps:
    """Take away those of these that nobody else was given meanwhile."""

    public_key: bytes
    prefixes: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class AddEntry:
    vni: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class DeleteEntry:
    vni: int
    entry: Entry


Step = (
    Rebind
    | RemovePeer
    | SetPrivateKey
    | SetNode
    | SetNetwork
    | AddPeer
    | SetPeer
    | GiveAllowedIps
    | TakeAllowedIps
    | AddEntry
    | DeleteEntry
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps, to be taken in this order, and the same in words."""

    steps: tuple[Step, ...]
    summary: tuple[str, ...]


def make_plan(running: Running, new: Config) -> Plan:
    """ConfigError, with all that is wrong, where the file cannot be had without a restart."""
    impossible = [*_fixed(running.config, new), *_misfits(running, new)]
    if impossible:
        raise ConfigError(
            f"{new.path}: nothing was changed, as not all of it can be while the node runs (stop "
            f"and start it for that): {'; '.join(impossible)}"
        )
    # A port or a mark may be refused: these come first. Our new key may be that of a peer that is
    # gone, and our old one a new peer's.
    parts = (
        _rebind(running, new),
        _removals(running, new),
        _node_steps(running, new),
        _network_steps(running.config, new),
        _peer_steps(running, new),
        _entry_steps(running, new),
    )
    steps = tuple(step for part, _ in parts for step in part)
    return Plan(steps, tuple(text for _, texts in parts for text in texts))


# --- what cannot be had --------------------------------------------------------------------------


def _fixed(old: Config, new: Config) -> Iterator[str]:
    for name in FIXED_OF_NODE:
        yield from _same("[node]", name, getattr(old.node, name), getattr(new.node, name))
    before = {network.vni: network for network in _networks_without_derived_macs(old)}
    after = {network.vni: network for network in _networks_without_derived_macs(new)}
    for vni in sorted(before.keys() ^ after.keys()):
        found = "is missing" if vni in before else "is new"
        yield f"[[network]] with vni {vni} {found}, want the networks of the start"
    for vni in sorted(before.keys() & after.keys()):
        for name in FIXED_OF_NETWORK:
            was, found_ = getattr(before[vni], name), getattr(after[vni], name)
            yield from _same(f"[[network]] with vni {vni}", name, was, found_)


def _same(table: str, name: str, was: object, found: object) -> Iterator[str]:
    if was == found:
        return
    key, found_text, want = KEYS.get(name, name), _shown(found), _shown(was)
    if found_text == want:
        yield f"{table}, {key}: found {want} with other settings, want those of the start"
    else:
        yield f"{table}, {key}: found {found_text}, want {want}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, AttachConfig):
        return f"{value.type} {value.name}"
    return "none" if value is None else str(value)


def _networks_without_derived_macs(config: Config) -> Iterator[NetworkConfig]:
    """A MAC that follows from the private key is the port's for as long as it is there."""
    own = public_key(config.node.private_key)
    for network in config.networks:
        attach = tuple(
            replace(one, mac=b"")
            if one.mac is not None and one.mac == derive_mac(own, network.vni, one.name)
            else one
            for one in network.attach
        )
        yield replace(network, attach=attach)


def _misfits(running: Running, new: Config) -> Iterator[str]:
    labels = peer_labels(new)
    for peer in new.peers:
        name = peer.endpoint
        if name is not None and not running.looks_up_names and not is_address(name):
            yield (
                f"{labels[peer.public_key]}, endpoint: found {name}, want an address: there was no "
                "name at the start, so nobody looks any up"
            )
    for network in new.networks:
        for entry in network.fdb:
            if entry.mac in running.own_macs.get(network.vni, ()):
                yield (
                    f"[[network]] with vni {network.vni}, fdb: found {entry.mac.hex(':')} of this "
                    "network's own port, want a remote one"
                )


# --- the node and its networks -------------------------------------------------------------------


Part = tuple[list[Step], list[str]]
"""Steps, and the same in words."""


def _rebind(running: Running, new: Config) -> Part:
    port = new.node.listen_port or running.listen_port
    fwmark = new.node.fwmark
    said = []
    if port != running.listen_port:
        said.append(f"listen_port: {running.listen_port} -> {port}")
    if fwmark != running.fwmark:
        said.append(f"fwmark: {running.fwmark} -> {fwmark}")
    return [Rebind(port, fwmark)] if said else [], said


def _node_steps(running: Running, new: Config) -> Part:
    steps: list[Step] = []
    said = []
    if public_key(new.node.private_key) != running.public_key:
        steps.append(SetPrivateKey(new.node.private_key))
        said.append("private_key: another one")
    old = running.config.node
    changed = [
        name for name in ("addresses", "forward", "probe_mtu") if _differ(old, new.node, name)
    ]
    if changed:
        steps.append(SetNode(new.node))
    said += [
        f"{KEYS.get(name, name)}: {_value(old, name)} -> {_value(new.node, name)}"
        for name in changed
    ]
    return steps, said


NETWORK_KEYS = (
    *("accept", "learning", "ageing", "max_entries", "clamp_mss"),
    *quiet.KEYS,
)
"""Of a network, what may be changed while it runs."""


def _network_steps(old: Config, new: Config) -> Part:
    before = {network.vni: network for network in old.networks}
    steps: list[Step] = []
    said = []
    for network in new.networks:
        was = before[network.vni]
        if network == was:
            continue
        steps.append(SetNetwork(network))
        said += [
            f"network {network.vni}: {name}: {_value(was, name)} -> {_value(network, name)}"
            for name in NETWORK_KEYS
            if _differ(was, network, name)
        ]
    return steps, said


def _differ(one: object, other: object, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def _value(holder: object, name: str) -> str:
    value = getattr(holder, name)
    if name == "accept" and value is None:
        return "any peer's"
    return str(value).lower() if isinstance(value, bool) else _shown(value)


def _entry_steps(running: Running, new: Config) -> Part:
    added: list[Step] = []
    deleted: list[Step] = []
    said = []
    for network in new.networks:
        wanted = [(FLOOD, remote.packed) for remote in flood_list(new, network)]
        wanted += [(entry.mac, entry.vtep.packed) for entry in network.fdb]
        there = running.entries[network.vni]
        more = [entry for entry in wanted if entry not in there]
        less = there.difference(wanted)
        added += [AddEntry(network.vni, entry) for entry in more]
        deleted += [DeleteEntry(network.vni, entry) for entry in sorted(less)]
        for what, is_flood in (("remotes", True), ("fdb", False)):
            come, go = (sum((mac == FLOOD) is is_flood for mac, _ in some) for some in (more, less))
            if come or go:
                said.append(f"network {network.vni}: {what}: {come} added, {go} gone")
    return [*added, *deleted], said


# --- peers ---------------------------------------------------------------------------------------


def _removals(running: Running, new: Config) -> Part:
    kept = {peer.public_key for peer in new.peers}
    gone = {key: peer for key, peer in running.peers.items() if key not in kept}
    said = [
        f'peer "{peer.name}": removed' if peer.name else f"peer {encode(key)}: removed"
        for key, peer in gone.items()
    ]
    return [RemovePeer(key) for key in gone], said


def _peer_steps(running: Running, new: Config) -> Part:
    labels = peer_labels(new)
    added: list[Step] = []
    changed: list[Step] = []
    given: list[Step] = []
    taken: list[Step] = []
    said = []
    for peer in new.peers:
        key, label = peer.public_key, labels[peer.public_key]
        was = running.peers.get(key)
        if was is None:
            added.append(AddPeer(key))
            said.append(f"{label}: added")
        before = was or RunningPeer()
        names = tuple(_changed_fields(before, peer))
        if names:
            changed.append(SetPeer(peer, names))
        prefixes = tuple(map(packed_prefix, peer.allowed_ips))
        if prefixes != before.allowed_ips:
            names = (*names, "allowed_ips")
            gone = set(before.allowed_ips).difference(prefixes)
            kept = [prefix for prefix in before.allowed_ips if prefix not in gone]
            given.append(GiveAllowedIps(key, prefixes[_common_start(kept, prefixes) :]))
            taken.append(TakeAllowedIps(key, tuple(sorted(gone))))
        if was is not None and names:
            said.append(f"{label}: {', '.join(names)}")
    # What moves from peer to peer is at no moment nobody's.
    return [*added, *changed, *given, *taken], said


def _changed_fields(was: RunningPeer, peer: PeerConfig) -> Iterator[str]:
    if peer.name != was.name:
        yield "name"
    if (peer.preshared_key or NO_PRESHARED_KEY) != was.preshared_key:
        yield "preshared_key"
    if peer.endpoint != was.endpoint:
        yield "endpoint"
    if peer.persistent_keepalive != was.persistent_keepalive:
        yield "persistent_keepalive"


def _common_start(one: Sequence[Prefix], other: Sequence[Prefix]) -> int:
    """How many they have in common before the first that differs."""
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return min(len(one), len(other))

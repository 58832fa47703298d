"""What each node of a fleet is, whichever program will run it: the common ground of all formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wgvx.config import format_mac
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.numbers import Numbers
from wgvx.fleet.paths import Room, room, tunnel_mtus
from wgvx.fleet.plan import Kind, Plan, Site, Tenant
from wgvx.fleet.topology import Links, covering


@dataclass(frozen=True, slots=True)
class Peer:
    """A tunnel's other end. Keys are base64."""

    name: str
    public_key: str
    preshared_key: str | None = field(repr=False)
    endpoint: str | None
    allowed_ips: tuple[str, ...]
    """Empty for one that is known and not used yet, or not any more."""
    keepalive: int


@dataclass(frozen=True, slots=True)
class Network:
    """A tenant on one node."""

    name: str
    vni: int
    addresses: tuple[str, ...]
    mac: str
    mtu: int
    bridge: str | None
    udp_port: int
    remotes: tuple[str, ...]
    """The VTEPs of the tenant's other sites."""
    accept: tuple[str, ...]
    """The VTEPs of all of its sites, as few prefixes as cover them and nobody else."""
    quiet: Mapping[str, bool | int]


@dataclass(frozen=True, slots=True)
class Node:
    """One site's node."""

    name: str
    kind: Kind
    private_key: str | None = field(repr=False)
    """None: it stays on the node."""
    public_key: str
    listen_port: int
    addresses: tuple[str, ...]
    """With the length of the tunnel's prefix."""
    mtu: int
    forward: bool
    peers: tuple[Peer, ...]
    networks: tuple[Network, ...]

    @property
    def vtep(self) -> str:
        """The tunnel address that VXLAN uses."""
        return self.addresses[0].partition("/")[0]


@dataclass(frozen=True)
class Fleet:
    """A plan and all that follows from it."""

    plan: Plan
    numbers: Numbers
    keyring: Keyring
    links: Links = field(init=False)
    rooms: dict[str, Room] = field(init=False)
    """By tenant."""
    tunnel_mtus: dict[str, int] = field(init=False)
    """By site."""
    _vteps: dict[str, list[str]] = field(init=False)
    _accept: dict[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        """ConfigError where an MTU is too small for what is to go through."""
        links = Links(self.plan, self.numbers)
        tenants = self.plan.tenants
        rooms = {name: room(links, tenant) for name, tenant in tenants.items()}
        vteps = {
            name: [links.addresses(site)[0] for site in tenant.sites]
            for name, tenant in tenants.items()
        }
        for key, value in (
            ("links", links),
            ("rooms", rooms),
            ("tunnel_mtus", tunnel_mtus(links, rooms)),
            ("_vteps", {name: [str(vtep) for vtep in some] for name, some in vteps.items()}),
            ("_accept", {name: covering(some) for name, some in vteps.items()}),
        ):
            object.__setattr__(self, key, value)

    def nodes(self) -> Iterator[Node]:
        """Every site's, in the plan's order."""
        tenants_of: dict[str, list[Tenant]] = {name: [] for name in self.plan.sites}
        for tenant in self.plan.tenants.values():
            for name in tenant.sites:
                tenants_of[name].append(tenant)
        for name, site in self.plan.sites.items():
            yield self._node(site, tenants_of[name])

    def _node(self, site: Site, tenants: Iterable[Tenant]) -> Node:
        name = site.name
        return Node(
            name=name,
            kind=site.kind,
            private_key=self.keyring.private(name),
            public_key=self.keyring.public(name),
            listen_port=site.listen_port,
            addresses=tuple(map(str, self.numbers.address(self.plan, name))),
            mtu=self.tunnel_mtus[name],
            forward=site.hub,
            peers=tuple(self._peer(site, other) for other in self.links.peers(name)),
            networks=tuple(self._network(site, tenant) for tenant in tenants),
        )

    def _peer(self, site: Site, other: str) -> Peer:
        endpoint = self.plan.sites[other].endpoint
        return Peer(
            name=other,
            public_key=self.keyring.public(other),
            preshared_key=self.keyring.preshared(site.name, other),
            endpoint=None if endpoint is None else str(endpoint),
            allowed_ips=self.links.allowed_ips(site.name, other),
            keepalive=site.keepalive,
        )

    def _network(self, site: Site, tenant: Tenant) -> Network:
        own = str(self.links.addresses(site.name)[0])
        return Network(
            name=tenant.name,
            vni=tenant.vni,
            addresses=tuple(map(str, self.numbers.overlay_address(tenant, site.name))),
            mac=format_mac(self.numbers.mac(tenant, site.name)),
            mtu=self.rooms[tenant.name].overlay,
            bridge=tenant.bridge,
            udp_port=tenant.udp_port,
            remotes=tuple(vtep for vtep in self._vteps[tenant.name] if vtep != own),
            accept=self._accept[tenant.name],
            quiet=tenant.quiet,
        )

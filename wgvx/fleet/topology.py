"""Who has a tunnel to whom, and which tunnel addresses lie behind each.

In a mesh every site has a tunnel to every other. With hubs, a spoke has one, to its own hub, and
the hubs have one to each other: a packet from spoke to spoke passes one hub or two. A tunnel
address leads to one peer alone (cryptokey routing), so a spoke cannot be at two hubs at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import collapse_addresses, ip_network

from wgvx.config import Address
from wgvx.fleet.keyring import Pair, pair
from wgvx.fleet.numbers import Numbers
from wgvx.fleet.plan import Plan, Topology


@dataclass(frozen=True)
class Links:
    """The tunnels of a plan."""

    plan: Plan
    numbers: Numbers
    _addresses: dict[str, tuple[Address, ...]] = field(init=False)
    _spokes: dict[str, list[str]] = field(init=False)
    _behind: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        addresses = {
            name: tuple(one.ip for one in self.numbers.address(self.plan, name))
            for name in self.plan.sites
        }
        spokes: dict[str, list[str]] = defaultdict(list)
        for spoke, hub in self.numbers.homes.items():
            spokes[hub].append(spoke)
        object.__setattr__(self, "_addresses", addresses)
        object.__setattr__(self, "_spokes", spokes)

    def addresses(self, name: str) -> tuple[Address, ...]:
        """A site's tunnel addresses, the one that VXLAN uses first."""
        return self._addresses[name]

    def peers(self, name: str) -> Iterator[str]:
        """The sites that a site has a tunnel to, in the plan's order."""
        plan = self.plan
        if plan.topology is Topology.MESH:
            hidden = plan.sites[name].endpoint is None
            for other, site in plan.sites.items():
                if other != name and not (hidden and site.endpoint is None):
                    yield other
        elif plan.sites[name].hub:
            spokes = set(self._spokes[name])
            for other, site in plan.sites.items():
                if other != name and (site.hub or other in spokes):
                    yield other
        else:
            yield self.numbers.homes[name]

    def pairs(self) -> Iterator[Pair]:
        """Every tunnel once."""
        for name in self.plan.sites:
            for other in self.peers(name):
                if name < other:
                    yield pair(name, other)

    def allowed_ips(self, name: str, peer: str) -> tuple[str, ...]:
        """What lies behind a site's `peer`, as prefixes."""
        if self.plan.topology is Topology.MESH or not self.plan.sites[peer].hub:
            return self._hosts(peer)
        if not self.plan.sites[name].hub:
            return tuple(str(prefix) for prefix in self.plan.tunnel)
        return self._behind_hub(peer)

    def route(self, a: str, b: str) -> tuple[str, ...]:
        """The sites that a packet from `a` to `b` passes, both ends with them."""
        if self.plan.topology is Topology.MESH:
            return (a, b)
        homes = self.numbers.homes
        passed = (a, homes.get(a, a), homes.get(b, b), b)
        return tuple(dict.fromkeys(passed))

    def _hosts(self, name: str) -> tuple[str, ...]:
        return tuple(f"{one}/{one.max_prefixlen}" for one in self._addresses[name])

    def _behind_hub(self, hub: str) -> tuple[str, ...]:
        if hub not in self._behind:
            self._behind[hub] = covering(
                address for name in (hub, *self._spokes[hub]) for address in self._addresses[name]
            )
        return self._behind[hub]


def covering(addresses: Iterable[Address]) -> tuple[str, ...]:
    """As few prefixes as have these addresses in them and no other, IPv4's first."""
    hosts = [ip_network(address) for address in addresses]
    found: list[str] = []
    for version in (4, 6):
        family = [host for host in hosts if host.version == version]
        found += map(str, collapse_addresses(family))  # type: ignore[type-var]
    return tuple(found)

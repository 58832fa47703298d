"""How large a frame each path carries, and one MTU for each tenant that all of its paths carry.

The headers are counted as `wgvx up` counts them where a file has no MTU: those of IPv6, whichever
family is used, so 80 from the underlay's MTU to the tunnel's and 70 from there to the overlay's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from wgvx import mtu
from wgvx.config import ConfigError
from wgvx.fleet.plan import Tenant
from wgvx.fleet.topology import Links


class Path(NamedTuple):
    """The way between two sites."""

    sites: tuple[str, ...]
    """Those that it passes, both ends with them."""
    underlay: int
    """The lowest underlay MTU on it."""

    @property
    def tunnel(self) -> int:
        """The largest tunnel packet."""
        return self.underlay - mtu.OUTER_OVERHEAD

    @property
    def overlay(self) -> int:
        """The largest inner IP packet."""
        return mtu.overlay_mtu(self.tunnel)


class Room(NamedTuple):
    """What a tenant's frames may be."""

    overlay: int
    narrowest: str | None
    """The site whose underlay decides; None where the tenant has fewer than two sites."""
    underlay: int


def path(links: Links, a: str, b: str) -> Path:
    """The way from `a` to `b`, which is the way back too."""
    sites = links.route(a, b)
    return Path(sites, min(links.plan.sites[name].underlay_mtu for name in sites))


def paths(links: Links, tenant: Tenant) -> Iterator[Path]:
    """Those between all of a tenant's sites."""
    for a, b in combinations(tenant.sites, 2):
        yield path(links, a, b)


def passed(links: Links, tenant: Tenant) -> list[str]:
    """The sites that a tenant's packets pass: its own, and the hubs between them."""
    homes = links.numbers.homes
    return list(
        dict.fromkeys(hop for name in tenant.sites for hop in (name, homes.get(name, name)))
    )


def room(links: Links, tenant: Tenant) -> Room:
    """A tenant's overlay MTU: that of its narrowest path.

    ConfigError where a prefix of IPv6 could not be used on it.
    """
    plan = links.plan
    hops = passed(links, tenant) if len(tenant.sites) > 1 else list(tenant.sites)
    narrowest = min(hops, key=lambda name: plan.sites[name].underlay_mtu, default=None)
    underlay = plan.sites[narrowest].underlay_mtu if narrowest else mtu.DEFAULT_ROUTE_MTU
    found = Room(Path((), underlay).overlay, narrowest, underlay)
    if found.overlay < mtu.IPV6_MINIMUM_MTU and any(p.version == 6 for p in tenant.prefixes):
        raise ConfigError(
            f'{plan.path}: [[tenant]] (name "{tenant.name}"), prefix: found IPv6, which needs an '
            f"MTU of {mtu.IPV6_MINIMUM_MTU}, and the overlay's is {found.overlay} for the "
            f'underlay_mtu {underlay} of site "{narrowest}"; want IPv4 alone, or a larger underlay'
        )
    return found


def tunnel_mtus(links: Links, rooms: dict[str, Room]) -> dict[str, int]:
    """Each site's tunnel MTU: what its largest tenant needs, not more. `rooms` are by tenant.

    So a path that is narrower than others binds the tenants that use it and no other. ConfigError
    where tunnel addresses of IPv6 could not be used on it.
    """
    plan = links.plan
    found: dict[str, int] = {}
    for name, tenant in plan.tenants.items():
        needed = rooms[name].overlay + mtu.OVERLAY_OVERHEAD
        for hop in passed(links, tenant):
            found[hop] = max(found.get(hop, 0), needed)
    for name, site in plan.sites.items():
        tunnel = found.setdefault(name, site.underlay_mtu - mtu.OUTER_OVERHEAD)
        if tunnel < mtu.IPV6_MINIMUM_MTU and any(p.version == 6 for p in plan.tunnel):
            raise ConfigError(
                f"{plan.path}: [fleet], tunnel: found IPv6, which needs an MTU of "
                f'{mtu.IPV6_MINIMUM_MTU}, and site "{name}" has one of {tunnel} for an underlay of '
                f"{tunnel + mtu.OUTER_OVERHEAD}; want IPv4 alone, or a larger underlay_mtu"
            )
    return found

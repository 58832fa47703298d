"""Three sets of addresses - underlay, tunnel, overlay - and the proof that they do not overlap.

Where they did, a node would send what is for one of them into another: a tunnel's own packets into
that tunnel, at worst. So no tunnel prefix may meet anything else, no overlay prefix an endpoint or
another overlay's or the hosts' networks at the same site. Sites may share underlay prefixes, as
those behind NAT do, and tenants without a common site may share overlay prefixes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from itertools import accumulate
from typing import NamedTuple

from wgvx.config import Prefix
from wgvx.config.table import Table
from wgvx.fleet.plan import Plan


class Held(NamedTuple):
    """A range of addresses and whose it is."""

    first: tuple[int, int]
    """Family and number."""
    last: tuple[int, int]
    what: str
    """As a message calls it."""


def held(prefix: Prefix, what: str) -> Held:
    """All addresses of `prefix`."""
    first = int(prefix.network_address)
    last = first + (1 << prefix.max_prefixlen - prefix.prefixlen) - 1
    return Held((prefix.version, first), (prefix.version, last), what)


def _further(a: Held, b: Held) -> Held:
    return a if a.last >= b.last else b


class Ranges:
    """Ranges among which another is looked for."""

    def __init__(self, ranges: Iterable[Held]) -> None:
        self._ranges = sorted(ranges)
        self._starts = [one.first for one in self._ranges]
        # Of all that begin no later, the one that ends last.
        self._furthest = list(accumulate(self._ranges, _further))

    def meeting(self, prefix: Prefix) -> str | None:
        """What shares an address with `prefix`; None: nothing does."""
        asked = held(prefix, "")
        at = bisect_right(self._starts, asked.last) - 1
        if at >= 0 and self._furthest[at].last >= asked.first:
            return self._furthest[at].what
        return None


class Overlaps:
    """The proof, or the first overlap that stands against it."""

    def __init__(
        self, plan: Plan, fleet: Table, sites: dict[str, Table], tenants: dict[str, Table]
    ) -> None:
        """`sites` and `tenants` are the plan's tables by name, for messages."""
        self._plan, self._fleet, self._sites, self._tenants = plan, fleet, sites, tenants
        self._endpoints = list(self._endpoint_ranges())
        self._underlay = [
            held(prefix, f'{prefix} in underlay of site "{name}"')
            for name, site in plan.sites.items()
            for prefix in site.underlay
        ]

    def refuse(self) -> None:
        """ConfigError for the first overlap there is."""
        plan = self._plan
        everywhere = Ranges([*self._endpoints, *self._underlay])
        tunnel = Ranges(held(prefix, f"{prefix} in [fleet] tunnel") for prefix in plan.tunnel)
        endpoints = Ranges(self._endpoints)
        for prefix in plan.tunnel:
            if other := everywhere.meeting(prefix):
                self._fleet.fail(
                    "tunnel", f"found {prefix}, which overlaps {other}, want a prefix apart from it"
                )
        for name, tenant in plan.tenants.items():
            there = self._at(tenant.sites)
            for prefix in tenant.prefixes:
                for ranges in (tunnel, endpoints, there):
                    if other := ranges.meeting(prefix):
                        self._refuse_tenant(name, prefix, other)
            self._refuse_neighbours(name)

    def _endpoint_ranges(self) -> Iterable[Held]:
        for name, site in self._plan.sites.items():
            if site.endpoint is None:
                continue
            try:
                address = ip_address(site.endpoint.host.partition("%")[0])
            except ValueError:
                continue  # a name: what it will mean is not ours to know
            yield held(ip_network(address), f'{address}, the endpoint of site "{name}"')

    def _at(self, names: tuple[str, ...]) -> Ranges:
        """The networks of the hosts at some sites."""
        return Ranges(
            held(prefix, f'{prefix} in underlay of site "{name}"')
            for name in names
            for prefix in self._plan.sites[name].underlay
        )

    def _refuse_neighbours(self, name: str) -> None:
        """Two tenants with addresses on one node."""
        tenants = self._plan.tenants
        mine = tenants[name]
        for other in tenants.values():
            if other.name == name:
                return  # Those before it, and each pair once.
            meeting = Ranges(
                held(prefix, f'{prefix} in prefix of tenant "{other.name}"')
                for prefix in other.prefixes
            )
            for prefix in mine.prefixes:
                found = meeting.meeting(prefix)
                if found and (both := set(mine.sites) & set(other.sites)):
                    self._refuse_tenant(name, prefix, f'{found}, and site "{min(both)}" has both')

    def _refuse_tenant(self, name: str, prefix: Prefix, other: str) -> None:
        self._tenants[name].fail(
            "prefix", f"found {prefix}, which overlaps {other}, want a prefix apart from it"
        )

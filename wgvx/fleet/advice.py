"""What is valid in a plan, yet hardly meant."""

from __future__ import annotations

from collections.abc import Iterator

from wgvx import mtu
from wgvx.config import quiet
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.plan import Kind, Topology


def warnings(fleet: Fleet) -> Iterator[str]:
    """One line each."""
    plan = fleet.plan
    if not plan.tenants:
        yield "there is no [[tenant]]: the tunnels carry nothing"
    for name, tenant in plan.tenants.items():
        if len(tenant.sites) < 2:
            yield f'tenant "{name}": it has {len(tenant.sites)} sites, so nobody to talk to'
        kernels = [site for site in tenant.sites if plan.sites[site].kind is Kind.KERNEL]
        if tenant.quiet and kernels:
            yield (
                f'tenant "{name}": {quiet.words(tenant.quiet)} is for nodes that run wgvx; '
                f"the kernel's VXLAN has none of it: {', '.join(kernels)}"
            )
        overlay = fleet.rooms[name].overlay
        if overlay < mtu.IPV6_MINIMUM_MTU:
            yield (
                f'tenant "{name}": its overlay MTU is {overlay}, below {mtu.IPV6_MINIMUM_MTU}: '
                "IPv6 will not run on it"
            )
    busy = {site for tenant in plan.tenants.values() for site in tenant.sites}
    idle = [name for name, site in plan.sites.items() if name not in busy and not site.hub]
    if plan.tenants and idle:
        yield f"in no tenant: {', '.join(idle)}"
    if plan.topology is Topology.MESH:
        hidden = [name for name, site in plan.sites.items() if site.endpoint is None]
        if len(hidden) > 1:
            yield (
                "no tunnel between these, for none has an endpoint, and no tenant wants one: "
                + ", ".join(hidden)
            )
    if len(plan.sites) > 1 and all(site.endpoint is None for site in plan.sites.values()):
        yield "no site has an endpoint: nobody can call anybody"

"""Which number a node has in each prefix, and which hub: assigned once, then kept in a lock file.

Kept rather than derived from the name by a hash: in a /24 two of twenty nodes would collide with a
probability of one half, and whoever yields to a collision depends on who came first. So there has
to be a memory anyway; `PLAN.lock` is one that a person can read, compare and keep with the plan. It
holds no secret. A new node has the number after the highest ever given, so that adding or removing
one renumbers nobody and what a removed node had is not soon another's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface
from itertools import chain
from pathlib import Path
from typing import Any

from wgvx.config import Address, ConfigError, Interface, Prefix, derive_mac
from wgvx.config.table import reason
from wgvx.fleet import files
from wgvx.fleet.plan import Plan, Tenant

VERSION = 1


@dataclass(slots=True)
class Pool:
    """The numbers of one prefix, or of several that are numbered alike."""

    last: int = 0
    """The highest that was ever given."""
    given: dict[str, int] = field(default_factory=dict)
    """By site."""


@dataclass(slots=True)
class Numbers:
    """All that is remembered of a plan."""

    tunnel: Pool = field(default_factory=Pool)
    overlay: dict[str, Pool] = field(default_factory=dict)
    """By tenant."""
    homes: dict[str, str] = field(default_factory=dict)
    """Spoke -> hub."""
    seed: str = ""
    """What tells this fleet's MACs from others': hex, the digest of the plan as it was at first."""

    def address(self, plan: Plan, site: str) -> tuple[Interface, ...]:
        """The tunnel addresses of a site."""
        return tuple(_interface(prefix, self.tunnel.given[site]) for prefix in plan.tunnel)

    def mac(self, tenant: Tenant, site: str) -> bytes:
        """That of a tenant's interface at a site: it outlasts keys and kinds, so that neighbours
        need not learn another."""
        of_site = hashlib.blake2s(bytes.fromhex(self.seed) + site.encode()).digest()
        return derive_mac(of_site, tenant.vni, tenant.name)

    def overlay_address(self, tenant: Tenant, site: str) -> tuple[Interface, ...]:
        """The overlay addresses of a site; none where the tenant has no prefix."""
        if not tenant.prefixes:
            return ()
        number = self.overlay[tenant.name].given[site]
        return tuple(_interface(prefix, number) for prefix in tenant.prefixes)


def lock_path(plan: Plan) -> Path:
    """Where a plan's numbers are kept."""
    return plan.beside("lock")


def recall(plan: Plan) -> Numbers:
    """What the lock file says; ConfigError where it cannot be used."""
    path = lock_path(plan)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Numbers()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from None
    try:
        return parsed(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError(
            f"{path}: not a lock file of version {VERSION}; want the one that wgvx fleet render "
            "wrote (it holds the addresses: take it from a backup rather than delete it)"
        ) from None


def parsed(text: str) -> Numbers:
    """What the text of a lock file says; ValueError, TypeError, KeyError, AttributeError or
    RecursionError where it is none."""
    found = json.loads(text)
    if found["version"] != VERSION:
        raise ValueError
    homes = {str(spoke): str(hub) for spoke, hub in found["homes"].items()}
    overlay = {str(name): _pool(pool) for name, pool in found["overlay"].items()}
    return Numbers(_pool(found["tunnel"]), overlay, homes, bytes.fromhex(found["seed"]).hex())


def _pool(found: Any) -> Pool:
    given = {str(site): number for site, number in found["given"].items()}
    numbers = [found["last"], *given.values()]
    if not all(type(number) is int and number >= 0 for number in numbers) or len(
        set(given.values())
    ) < len(given):
        raise ValueError
    return Pool(found["last"], given)


def text(numbers: Numbers) -> str:
    """The lock file: JSON, one number a line."""

    def pool(one: Pool) -> dict[str, object]:
        return {"last": one.last, "given": dict(sorted(one.given.items()))}

    return (
        json.dumps(
            {
                "version": VERSION,
                "seed": numbers.seed,
                "tunnel": pool(numbers.tunnel),
                "overlay": {name: pool(one) for name, one in sorted(numbers.overlay.items())},
                "homes": dict(sorted(numbers.homes.items())),
            },
            indent=1,
        )
        + "\n"
    )


def assign(plan: Plan, before: Numbers) -> Numbers:
    """The numbers of everyone in the plan: `before`'s where they have one.

    ConfigError where a prefix has no room, or an address that a site has to have is another's.
    """
    numbers = Numbers(
        tunnel=_assign(
            before.tunnel,
            plan.sites,
            plan.tunnel,
            (),
            f"{plan.path}: [fleet], tunnel",
            {
                name: _number(site.tunnel, plan.tunnel)
                for name, site in plan.sites.items()
                if site.tunnel is not None
            },
        ),
        homes=_homes(plan, before.homes),
        seed=before.seed or plan.digest,
    )
    for name, tenant in plan.tenants.items():
        if tenant.prefixes:
            where = f'{plan.path}: [[tenant]] (name "{name}"), prefix'
            pool = before.overlay.get(name, Pool())
            numbers.overlay[name] = _assign(
                pool, tenant.sites, tenant.prefixes, tenant.reserved, where, {}
            )
    return numbers


def _assign(
    before: Pool,
    sites: Iterable[str],
    prefixes: tuple[Prefix, ...],
    reserved: tuple[Prefix, ...],
    where: str,
    fixed: dict[str, int],
) -> Pool:
    highest = min(_highest(prefix) for prefix in prefixes)
    taken: dict[int, str] = {}
    for site, number in fixed.items():
        if number > highest or not number:
            raise ConfigError(f'{where}: the address of site "{site}" is no host\'s, want another')
        if (other := taken.setdefault(number, site)) != site:
            raise ConfigError(
                f'{where}: sites "{other}" and "{site}" have one address, want each its own'
            )
    pool = Pool(before.last, {})
    waiting = []
    for site in sites:
        number = fixed.get(site, before.given.get(site, 0))
        # One that is fixed for somebody else now, or reserved, or outside of a smaller prefix.
        if (
            number
            and site not in fixed
            and (number > highest or number in taken or _reserved(number, prefixes, reserved))
        ):
            raise ConfigError(
                f'{where}: site "{site}" has {_shown(number, prefixes)}, which is '
                f"{'of another site' if number in taken else 'not to be given'} now; want room for "
                "it, or its line taken out of the lock file, so that it gets another"
            )
        if number:
            taken[number] = site
            pool.given[site] = number
        else:
            waiting.append(site)
    pool.last = max(pool.last, *pool.given.values(), 0)
    free = _free(pool.last, highest, taken, prefixes, reserved)
    for site in waiting:
        number = next(free, 0)
        if not number:
            raise ConfigError(
                f'{where}: found no address left for site "{site}" in '
                f"{' and '.join(map(str, prefixes))}, want a larger prefix"
            )
        pool.given[site] = number
        pool.last = max(pool.last, number)
    return pool


def _free(
    last: int,
    highest: int,
    taken: dict[int, str],
    prefixes: tuple[Prefix, ...],
    reserved: tuple[Prefix, ...],
) -> Iterator[int]:
    """Numbers to give: those after the last, and at the end of the prefix those that came free."""
    for number in chain(range(last + 1, highest + 1), range(1, min(last, highest) + 1)):
        if number not in taken and not _reserved(number, prefixes, reserved):
            yield number


def _reserved(number: int, prefixes: tuple[Prefix, ...], reserved: tuple[Prefix, ...]) -> bool:
    return bool(reserved) and any(
        prefix[number] in part
        for prefix in prefixes
        for part in reserved
        if part.version == prefix.version
    )


def _highest(prefix: Prefix) -> int:
    """The last host's number: the broadcast address of IPv4 is none."""
    return int(prefix.num_addresses) - (2 if prefix.version == 4 else 1)


def _number(address: Address, prefixes: tuple[Prefix, ...]) -> int:
    (prefix,) = (prefix for prefix in prefixes if address in prefix)
    return int(address) - int(prefix.network_address)


def _interface(prefix: Prefix, number: int) -> Interface:
    return ip_interface((int(prefix.network_address) + number, prefix.prefixlen))


def _shown(number: int, prefixes: tuple[Prefix, ...]) -> str:
    return f"number {number} of {' and '.join(map(str, prefixes))}"


def _homes(plan: Plan, before: dict[str, str]) -> dict[str, str]:
    """Each spoke's hub: as the plan says, as it was, else the one with the fewest spokes."""
    hubs = {hub.name: 0 for hub in plan.hubs}
    homes: dict[str, str] = {}
    waiting = []
    for name, site in plan.sites.items():
        if site.hub or not hubs:
            continue
        home = site.via or before.get(name)
        if home in hubs:
            homes[name] = home
            hubs[home] += 1
        else:
            waiting.append(name)
    for name in waiting:
        home = min(hubs, key=lambda hub: hubs[hub])
        homes[name] = home
        hubs[home] += 1
    return homes


def save(plan: Plan, numbers: Numbers) -> None:
    """Write the lock file where it differs."""
    path, wanted = lock_path(plan), text(numbers)
    if not path.exists() or path.read_text() != wanted:
        files.write(path, wanted, durable=True)

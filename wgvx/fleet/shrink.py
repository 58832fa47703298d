"""A plan without some of its sites: the same text, comments with it, less what named them."""

from __future__ import annotations

import stat
from collections.abc import Collection
from pathlib import Path

import tomlkit
from tomlkit.items import AoT, Array

from wgvx.config import ConfigError
from wgvx.fleet import files
from wgvx.fleet.plan import Plan
from wgvx.fleet.read import read_text


def without(text: str, names: Collection[str]) -> str:
    """`text`, a valid plan, without the sites `names`."""
    document = tomlkit.parse(text)
    sites = document["site"]
    assert isinstance(sites, AoT)
    for index in reversed(range(len(sites))):
        if sites[index]["name"] in names:
            del sites[index]
    for tenant in document.get("tenant", ()):
        members = tenant.get("sites")
        if isinstance(members, Array):
            for name in names:
                while name in members:
                    members.remove(name)
    return tomlkit.dumps(document)


def shrunk(plan: Plan, names: Collection[str]) -> tuple[Plan, str]:
    """The plan without the sites `names`, and its text; ConfigError where that is no plan."""
    unknown = sorted(set(names) - plan.sites.keys())
    if unknown:
        raise ConfigError(f"{plan.path}: there is no site {', '.join(unknown)}")
    text = without(plan.path.read_text(), names)
    try:
        return read_text(text, plan.path), text
    except ConfigError as error:
        raise ConfigError(f"without {', '.join(names)} this is no plan: {error}") from None


def write(path: Path, text: str) -> None:
    """Put a plan in its place, with the mode that it has."""
    files.write(path, text, stat.S_IMODE(path.stat().st_mode), durable=True)

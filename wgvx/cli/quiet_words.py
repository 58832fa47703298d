"""A quiet network, as ``wgvx show`` tells people of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wgvx.cli.units import ago
from wgvx.config import quiet


def rows(network: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What and how, of a network in ``show``'s answer; nothing of what is off."""
    if network.get("moves"):
        yield "station moves", str(network["moves"])
    # A node that was started before an upgrade does not tell.
    settings = network.get("quiet", {})
    if any(settings.values()):
        yield "quiet", quiet.words(settings)
    for feature in quiet.FEATURES:
        if seen := settings.get(feature):
            counts = [
                _counted(count, what.replace("_", " "))
                for what, count in seen.items()
                if type(count) is int
            ]
            yield feature.replace("_", " "), ", ".join(counts)
            for family, name in (("ipv4", "IPv4 groups"), ("ipv6", "IPv6 groups")):
                if family in seen:
                    yield name, _restriction(seen[family])
    for port in (settings.get("loop_detection") or {}).get("blocked", ()):
        yield "blocked", f"{port['port']}, {ago(port['seconds'])}: {port['way']}"


def _counted(number: int, what: str) -> str:
    """``1 probe returned``, ``2 probes returned``, ``1 answered``."""
    noun, *rest = what.split(" ")
    # Of two nouns the second one is counted: blocked ports.
    if number == 1:
        noun = noun.removesuffix("s")
        rest = [word.removesuffix("s") for word in rest]
    return " ".join((str(number), noun, *rest))


def _restriction(family: dict[str, Any]) -> str:
    """Where the groups of a family go, and why."""
    if not family["querier"]:
        return "everywhere (no querier is heard, or too many routers are)"
    if not family["restricting"]:
        return "everywhere (until those who listen had time to answer the querier)"
    return "to those who listen" + (
        " (unknown ones everywhere, as there are too many)" if family["full"] else ""
    )

"""The keys that keep a network quiet: in a node's file, in a fleet's plan, and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgvx.config.model import NetworkConfig

LIMITS = ("broadcast_limit", "multicast_limit", "unknown_limit")
FEATURES = ("suppress", "snooping", "loop_detection")
"""Those that watch frames (wgvx/quiet/)."""
KEYS = ("sticky", "move_limit", *LIMITS, *FEATURES)


def settings(network: NetworkConfig) -> dict[str, bool | int]:
    """What a network is told, by key."""
    return {key: getattr(network, key) for key in KEYS}


def words(said: Mapping[str, Any]) -> str:
    """What differs from the defaults; a feature's value may be what it has seen."""
    told = (f"{key} {value}" if type(value) is int else key for key, value in said.items() if value)
    return ", ".join(told) or "off"


def blocked(said: Mapping[str, Any]) -> set[str]:
    """The ports that loop detection has blocked, by name, of what ``show`` says is quiet."""
    return {port["port"] for port in (said.get("loop_detection") or {}).get("blocked", ())}

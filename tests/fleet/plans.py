"""Pieces of plans, and how tests read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgvx.config import ConfigError
from wgvx.fleet import numbers
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet, Node
from wgvx.fleet.plan import Plan
from wgvx.fleet.read import read

FLEET = '[fleet]\ntunnel = ["10.254.0.0/16"]\n'
HUBS = FLEET + 'topology = "hub-and-spoke"\n'
TENANT = '[[tenant]]\nname = "blue"\nvni = 4200\nprefix = ["10.0.0.0/24"]\n'


def site(name: str, *more: str, at: int | None = None) -> str:
    """`at`: the last byte of its endpoint; None: behind NAT."""
    lines = ["[[site]]", f'name = "{name}"', *more]
    if at is not None:
        lines.append(f'endpoint = "192.0.2.{at}:51820"')
    return "\n".join(lines) + "\n"


MESH = FLEET + site("a", at=1) + site("b", at=2) + site("c") + TENANT
TWO_HUBS = (
    HUBS
    + site("h1", "hub = true", at=1)
    + site("h2", "hub = true", at=2)
    + "".join(site(name) for name in ("s1", "s2", "s3"))
    + TENANT
)


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text)
    return path


def planned(folder: Path, text: str) -> Plan:
    return read(write(folder, text))


def fleet(folder: Path, text: str) -> Fleet:
    """All that follows from a plan, with what the folder remembers; nothing is written."""
    plan = planned(folder, text)
    return Fleet(plan, numbers.assign(plan, numbers.recall(plan)), Keyring(plan))


def nodes(folder: Path, text: str) -> dict[str, Node]:
    return {node.name: node for node in fleet(folder, text).nodes()}


def refusal(folder: Path, text: str) -> str:
    """The message for a plan, without the path."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        fleet(folder, text)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))

"""A fleet of 2,000 nodes: 4 hubs, 1,996 spokes, 40 tenants of 54 sites; a plan in, all files out.

Each of its own round: what is kept beside the plan, and what was rendered, is of the round before
only where it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from wgvx.cli.main import main
from wgvx.fleet import numbers
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.read import read
from wgvx.fleet.render import tree

NODES, HUBS, TENANTS = 2000, 4, 40
ROUNDS = 3


@pytest.fixture
def text() -> str:
    """The plan."""
    lines = ['[fleet]\ntunnel = ["10.200.0.0/16"]\ntopology = "hub-and-spoke"']
    for index in range(NODES):
        lines.append(f'[[site]]\nname = "n{index}"\nkind = "{("wgvx", "kernel")[index % 2]}"')
        if index < HUBS:
            lines.append(f'endpoint = "192.0.2.{index + 1}:51820"\nhub = true')
    for index in range(TENANTS):
        sites = [f'"n{site}"' for site in range(NODES) if site < HUBS or site % TENANTS == index]
        lines.append(
            f'[[tenant]]\nname = "t{index}"\nvni = {index}\nprefix = ["10.{index}.0.0/24"]'
        )
        lines.append(f"sites = [{', '.join(sites)}]")
    return "\n".join(lines)


@pytest.fixture
def plan(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    return path


def timed(benchmark: BenchmarkFixture) -> Callable[..., object]:
    found: Callable[..., object] = benchmark.pedantic
    return found


def test_the_first_render(benchmark: BenchmarkFixture, tmp_path: Path, text: str) -> None:
    """All of `wgvx fleet render`: keys made, files written."""
    rounds = count()

    def fresh() -> tuple[tuple[str], dict[str, object]]:
        folder = tmp_path / str(next(rounds))
        folder.mkdir()
        (folder / "fleet.toml").write_text(text)
        return (str(folder / "fleet.toml"),), {}

    timed(benchmark)(lambda path: main(["fleet", "render", path]), setup=fresh, rounds=ROUNDS)


def test_a_render_that_changes_nothing(benchmark: BenchmarkFixture, plan: Path) -> None:
    """All keys and files read and compared."""
    main(["fleet", "render", str(plan)])
    timed(benchmark)(main, args=(["fleet", "render", str(plan)],), rounds=ROUNDS)


def test_working_it_out(benchmark: BenchmarkFixture, plan: Path) -> None:
    """Without a file but the plan: addresses, topology, MTUs, keys made, texts."""

    def all_of_it() -> None:
        found = read(plan)
        tree(Fleet(found, numbers.assign(found, numbers.Numbers()), Keyring(found)))

    timed(benchmark)(all_of_it, rounds=ROUNDS)

"""Fleets of a size: up from rendered files alone, then changed under traffic, losses counted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from string import ascii_lowercase

import pytest

from tests.netns.fleet_nodes import RenderedFleet, checked
from tests.netns.lab import Lab
from tests.netns.traffic import assert_ping
from wgvx.cli.main import main

pytestmark = [
    pytest.mark.netns,
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("nft") is None, reason="missing: apt-get install -y nftables"),
]

INTERVAL = 0.05
"""Seconds from ping to ping."""
PATIENCE = 4.0
"""Seconds that may be lost where a key changes hands, on a busy machine."""


def site(letter: str, *more: str, endpoint: bool = True) -> str:
    lines = ["[[site]]", f'name = "{{{letter}}}"', *more]
    if endpoint:
        lines.append(f'endpoint = "{{{letter}_ip}}:51820"')
    return "\n".join(lines) + "\n"


def tenant(name: str, number: int, letters: str) -> str:
    sites = ", ".join(f'"{{{letter}}}"' for letter in letters)
    return (
        f'[[tenant]]\nname = "{name}"\nvni = {number}\nprefix = ["10.0.{number}.0/24"]\n'
        f"sites = [{sites}]\n"
    )


def kind(index: int) -> str:
    return f'kind = "{"kernel" if index % 3 == 2 else "wgvx"}"'


def lost_during(fleet: RenderedFleet, a: str, b: str, change: Callable[[], None]) -> int:
    """How many of the pings from `a` to `b` are lost while something is changed."""
    host, address = fleet.hosts[a], fleet.overlay("blue")[b]
    assert_ping(host, address, timeout=30)
    ping = host.start("ping", "-n", "-i", str(INTERVAL), "-W", "5", address, log="ping")
    change()
    assert_ping(host, address, timeout=30)
    host.run("kill", "-INT", str(ping.pid))
    ping.wait()
    found = re.search(r"(\d+) packets transmitted, (\d+) received", ping.stdout)
    assert found, ping
    # The last one may still be under way.
    return max(int(found[1]) - int(found[2]) - 1, 0)


def changed(
    fleet: RenderedFleet, plan: str, a: str, b: str, record: Callable[[str, object], None]
) -> None:
    """A node is added, another's keys are rotated, the added one is removed; `a` pings `b`."""
    new = next(letter for letter in fleet.names if letter not in fleet.nodes)
    files = str(fleet.path)

    def add() -> None:
        fleet.render(plan)
        fleet.nodes[new].start()
        fleet.bring_out(fleet.rendered / "nodes")
        assert_ping(fleet.hosts[new], fleet.overlay("blue")[a], timeout=30)

    def announce() -> None:
        assert main(["fleet", "rotate", files, fleet.names[b]]) == 0
        fleet.bring_out(fleet.rollout / "1-announce/nodes")

    def switch() -> None:
        fleet.bring_out(fleet.rollout / "2-switch/nodes")

    def remove() -> None:
        assert main(["fleet", "remove", files, fleet.names[new]]) == 0
        fleet.facts = checked(fleet.path)
        gone = fleet.nodes.pop(new)
        fleet.bring_out(fleet.rollout / "2-switch/nodes")
        gone.stop()

    for change in (add, announce, switch, remove):
        lost = lost_during(fleet, a, b, change)
        record(f"lost pings of {1 / INTERVAL:.0f} a second: {change.__name__}", lost)
        print(f"{change.__name__}: {lost} pings lost, {lost * INTERVAL:.2f} s")
        assert lost * INTERVAL <= (PATIENCE if change is switch else 0), change.__name__


def test_twelve_in_a_mesh(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    letters = ascii_lowercase[:12]
    sites = [site(letter, kind(index)) for index, letter in enumerate(letters)]
    head = '[fleet]\ntunnel = ["10.254.0.0/16"]\n'
    blue, red = letters[:8], letters[4:]
    plan = head + "".join(sites) + tenant("blue", 1, blue) + tenant("red", 2, red)
    fleet = RenderedFleet(lab, letters + "z", plan)
    for node in fleet.nodes.values():
        node.start()
    fleet.assert_pings("blue")
    fleet.assert_pings("red")
    more = head + "".join(sites) + site("z", endpoint=False)
    changed(
        fleet,
        more + tenant("blue", 1, blue + "z") + tenant("red", 2, red),
        "a",
        "c",
        record_property,
    )
    fleet.assert_pings("blue")
    fleet.assert_pings("red")


def test_thirty_at_two_hubs(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    letters = ascii_lowercase + "ABCD"
    hubs = [site(letters[0], "hub = true"), site(letters[1], "hub = true", 'kind = "kernel"')]
    spokes = [
        site(letter, kind(index), f'via = "{{{letters[index % 2]}}}"', endpoint=False)
        for index, letter in enumerate(letters[2:])
    ]
    head = '[fleet]\ntunnel = ["10.254.0.0/16"]\ntopology = "hub-and-spoke"\n'
    tenants = [letters[2:12], letters[12:22], letters[22:]]
    plan = head + "".join((*hubs, *spokes))
    others = "".join(
        tenant(f"t{number}", number, some) for number, some in enumerate(tenants[1:], 2)
    )
    fleet = RenderedFleet(lab, letters + "Z", plan + tenant("blue", 1, tenants[0]) + others)
    for node in fleet.nodes.values():
        node.start()
    for name in ("blue", "t2", "t3"):
        fleet.assert_pings(name)
    more = plan + site("Z", endpoint=False) + tenant("blue", 1, tenants[0] + "Z") + others
    # From a spoke of one hub to one of the other.
    changed(fleet, more, "c", "d", record_property)
    for name in ("blue", "t2", "t3"):
        fleet.assert_pings(name)

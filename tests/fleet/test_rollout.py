"""From one state to another: what each step changes, and that both ends always agree on a way."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet.plans import HUBS, MESH, TENANT, TWO_HUBS, planned, site
from tests.fleet.test_topology import leads_to
from wgvx.config import ConfigError
from wgvx.fleet import numbers, rollout, shrink
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet, Node
from wgvx.fleet.rollout import Step


def rendered(folder: Path, text: str) -> tuple[Fleet, dict[str, Node]]:
    plan = planned(folder, text)
    keyring = Keyring(plan)
    fleet = Fleet(plan, numbers.assign(plan, numbers.recall(plan)), keyring)
    nodes = {node.name: node for node in fleet.nodes()}
    numbers.save(plan, fleet.numbers)
    keyring.save()
    return fleet, nodes


def rotated(folder: Path, text: str, names: list[str]) -> tuple[dict[str, Node], dict[str, Node]]:
    before, nodes = rendered(folder, text)
    keyring = Keyring(before.plan)
    keyring.renew(names)
    after = Fleet(before.plan, before.numbers, keyring)
    return nodes, {node.name: node for node in after.nodes()}


def removed(folder: Path, text: str, names: list[str]) -> tuple[dict[str, Node], dict[str, Node]]:
    before, nodes = rendered(folder, text)
    plan, _ = shrink.shrunk(before.plan, names)
    after = Fleet(plan, numbers.assign(plan, before.numbers), Keyring(plan))
    return nodes, {node.name: node for node in after.nodes()}


def applied(nodes: dict[str, Node], step: Step) -> dict[str, Node]:
    return {**nodes, **step.nodes}


def reaches(nodes: dict[str, Node], a: str, b: str) -> bool:
    """Whether packets go from `a` to `b`: each hop has a key that the next one has, and is the one
    to which the source leads back."""
    at = a
    for _ in nodes:
        if at == b:
            return True
        after = leads_to(nodes[at], nodes[b].vtep)
        if after not in nodes:
            return False
        (there,) = (peer for peer in nodes[at].peers if peer.name == after)
        back = leads_to(nodes[after], nodes[a].vtep)
        (here,) = (peer for peer in nodes[after].peers if peer.name == back) if back else (None,)
        if (
            here is None
            or here.name != at
            or there.public_key != nodes[after].public_key
            or here.public_key != nodes[at].public_key
            or here.preshared_key != there.preshared_key
        ):
            return False
        at = after
    return False


def all_reach(nodes: dict[str, Node], names: list[str]) -> bool:
    return all(reaches(nodes, a, b) for a, b in itertools.permutations(names, 2))


@pytest.mark.parametrize("text", [MESH, TWO_HUBS])
@pytest.mark.parametrize("names", [[0], [0, 1], [2], [0, 1, 2]], ids=str)
def test_a_rotation(text: str, names: list[int], tmp_path: Path) -> None:
    renewed = [list(planned(tmp_path, text).sites)[index] for index in names]
    before, after = rotated(tmp_path, text, renewed)
    everyone = list(before)
    announce, switch = rollout.steps(before, after)
    assert (announce.name, switch.name) == ("1-announce", "2-switch")
    # Whoever has announced and whoever has not yet: all reach all.
    assert all_reach(before, everyone)
    for name in announce.nodes:
        assert all_reach({**before, name: announce.nodes[name]}, everyone)
    announced = applied(before, announce)
    assert all_reach(announced, everyone)
    # A new key is known before anybody has it.
    for name, node in switch.nodes.items():
        for peer in node.peers:
            known = {one.public_key: one for one in announced[name].peers}
            assert peer.public_key in known
            # Its own preshared keys a node changes along with its private key.
            if name not in renewed:
                assert known[peer.public_key].preshared_key == peer.preshared_key
    switched = applied(announced, switch)
    assert switched == after
    assert all_reach(switched, everyone)
    assert "together, as closely as can be: " in switch.todo[-1]


def test_a_rotation_concerns_its_peers_alone(tmp_path: Path) -> None:
    announce, switch = rollout.steps(*rotated(tmp_path, TWO_HUBS, ["s2"]))
    assert set(announce.nodes) == {"h2"}
    assert set(switch.nodes) == {"h2", "s2"}


def test_the_old_key_is_gone_in_the_end(tmp_path: Path) -> None:
    before, after = rotated(tmp_path, MESH, ["a"])
    old = before["a"].public_key
    assert all(peer.public_key != old for node in after.values() for peer in node.peers)


def test_a_spoke_goes(tmp_path: Path) -> None:
    """The others let go of it in any order, and none of them is cut off meanwhile."""
    before, after = removed(tmp_path, TWO_HUBS, ["s3"])
    switch, retire = rollout.steps(before, after)
    assert (switch.name, retire.name) == ("2-switch", "3-retire")
    rest = [name for name in before if name != "s3"]
    for done in itertools.chain.from_iterable(
        itertools.permutations(switch.nodes, count) for count in (1, 2)
    ):
        halfway = {**before, **{name: switch.nodes[name] for name in done}}
        assert all_reach(halfway, rest)
    assert switch.todo == ("in any order, one by one or together: h1, h2, s1, s2",)
    assert retire.todo == ("stop these, and delete their files: s3",)
    assert retire.nodes == {}


def test_a_hub_goes(tmp_path: Path) -> None:
    """Its spokes know their new hub, and that knows them, before they go there."""
    before, after = removed(tmp_path, TWO_HUBS, ["h1"])
    announce, switch, _ = rollout.steps(before, after)
    everyone = list(before)
    assert set(announce.nodes) == {"h2", "s1", "s3"}
    announced = applied(before, announce)
    assert all_reach(announced, everyone)
    assert all_reach(applied(announced, switch), [name for name in before if name != "h1"])
    assert "together" in switch.todo[-1]


def test_nothing_changes_no_step(tmp_path: Path) -> None:
    _, nodes = rendered(tmp_path, MESH)
    assert rollout.steps(nodes, nodes) == []


def test_a_key_on_the_node_is_moved_there(tmp_path: Path) -> None:
    _, nodes = rendered(tmp_path, MESH)
    before = {**nodes, "a": replace(nodes["a"], private_key=None)}
    after = {**before, "a": replace(before["a"], public_key="new")}
    (switch,) = rollout.steps(before, after)
    assert switch.todo[0] == "on a: mv /etc/wgvx/a.next.key /etc/wgvx/a.key"


def test_a_plan_less_some_sites_is_the_same_text(tmp_path: Path) -> None:
    text = (
        "# the fleet\n"
        + MESH
        + 'sites = ["a", "b", # here\n    "c"]\n'
        + TENANT.replace("blue", "red").replace("4200", "1").replace("10.0.0", "10.0.1")
        + "# the end\n"
    )
    plan = planned(tmp_path, text)
    smaller, shorter = shrink.shrunk(plan, ["b"])
    assert list(smaller.sites) == ["a", "c"]
    assert smaller.tenants["blue"].sites == smaller.tenants["red"].sites == ("a", "c")
    assert set(shorter.splitlines()) <= {*text.splitlines(), 'sites = ["a",'}
    for line in ("# the fleet", "# the end", '    "c"]'):
        assert f"{line}\n" in shorter
    assert plan.path.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.toml"]


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        (MESH, ["d"], "there is no site d"),
        (MESH, ["a", "b", "c"], "without a, b, c this is no plan: .*found no \\[\\[site\\]\\]"),
        (
            HUBS
            + site("h", "hub = true", at=1)
            + site("g", "hub = true", at=2)
            + site("s", 'via = "h"'),
            ["h"],
            'name "s"\\), via: found "h", want a site with hub = true: g',
        ),
    ],
)
def test_what_cannot_go(text: str, names: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        shrink.shrunk(planned(tmp_path, text), names)
    assert ".fleet.without" not in str(caught.value)

"""Addresses are assigned once and stay."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.plans import FLEET, MESH, TWO_HUBS, planned, refusal, site, write
from wgvx.config import ConfigError
from wgvx.fleet import numbers
from wgvx.fleet.numbers import Numbers
from wgvx.fleet.plan import Kind, Plan, PrivateKeys, Site, Tenant, Topology
from wgvx.fleet.read import read

NAMES = [f"n{index}" for index in range(12)]


def plan_of(names: list[str]) -> Plan:
    """A mesh with one tenant that all are in."""
    sites = {
        name: Site(name, Kind.WGVX, None, 51820, 0, False, None, (), 1500, None, None)
        for name in names
    }
    prefix = (ip_network("10.0.0.0/27"),)
    tenant = Tenant("blue", 1, prefix, tuple(names), (ip_network("10.0.0.0/29"),), None, 4789, {})
    return Plan(
        Path("/nowhere/fleet.toml"),
        (ip_network("10.254.0.0/24"), ip_network("fd00:fe::/64")),
        Topology.MESH,
        PrivateKeys.HERE,
        True,
        "wgvx",
        sites,
        {"blue": tenant},
        "00",
    )


@given(st.lists(st.lists(st.sampled_from(NAMES), unique=True, min_size=1), min_size=1, max_size=8))
def test_who_stays_keeps_its_addresses(history: list[list[str]]) -> None:
    """However sites come, go and change places, nobody is renumbered and no two are numbered
    alike."""
    current = Numbers()
    before: list[str] = []
    for names in history:
        plan = plan_of(names)
        after = numbers.assign(plan, current)
        for pool, old in (
            (after.tunnel, current.tunnel),
            (after.overlay["blue"], current.overlay.get("blue")),
        ):
            assert set(pool.given) == set(names)
            assert len(set(pool.given.values())) == len(names)
            for name in set(names) & set(before):
                assert old is not None
                assert pool.given[name] == old.given[name]
        # The first eight are reserved, the last is the broadcast address.
        assert all(8 <= number <= 30 for number in after.overlay["blue"].given.values())
        # What is written is what is read.
        assert numbers.parsed(numbers.text(after)) == after
        current, before = after, names


def test_a_number_that_came_free_is_given_last() -> None:
    first = numbers.assign(plan_of(["n0", "n1"]), Numbers())
    without = numbers.assign(plan_of(["n0"]), first)
    assert numbers.assign(plan_of(["n0", "n2"]), without).tunnel.given == {"n0": 1, "n2": 3}


def test_a_full_prefix_is_filled_to_the_last(tmp_path: Path) -> None:
    small = FLEET.replace("10.254.0.0/16", "10.254.0.0/30")
    plan = planned(tmp_path, small + site("a", at=1) + site("b", at=2))
    full = numbers.assign(plan, Numbers())
    assert full.tunnel.given == {"a": 1, "b": 2}
    plan = planned(tmp_path, small + site("a", at=1) + site("c", at=2))
    assert numbers.assign(plan, full).tunnel.given == {"a": 1, "c": 2}
    text = small + "".join(site(name, at=at) for at, name in enumerate("abc", 1))
    assert 'found no address left for site "c" in 10.254.0.0/30' in refusal(tmp_path, text)


def test_an_address_that_a_site_has_to_have(tmp_path: Path) -> None:
    text = FLEET + site("a", at=1) + site("b", 'tunnel = "10.254.0.1"', at=2)
    plan = planned(tmp_path, text)
    found = numbers.assign(plan, Numbers())
    assert [str(one) for one in found.address(plan, "b")] == ["10.254.0.1/16"]
    assert [str(one) for one in found.address(plan, "a")] == ["10.254.0.2/16"]
    # But nobody is driven out of one.
    taken = numbers.assign(planned(tmp_path, FLEET + site("a", at=1)), Numbers())
    with pytest.raises(ConfigError, match=r'site "a" has number 1 .* which is of another site'):
        numbers.assign(plan, taken)


def test_two_with_one_address(tmp_path: Path) -> None:
    same = 'tunnel = "10.254.0.7"'
    message = refusal(tmp_path, FLEET + site("a", same, at=1) + site("b", same, at=2))
    assert 'sites "a" and "b" have one address' in message


def test_a_smaller_prefix(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    before = numbers.assign(plan, Numbers())
    before.overlay["blue"].given["c"] = 200
    smaller = planned(tmp_path, MESH.replace("10.0.0.0/24", "10.0.0.0/25"))
    with pytest.raises(ConfigError, match=r'prefix: site "c" has number 200 of 10\.0\.0\.0/25'):
        numbers.assign(smaller, before)


def test_spokes_stay_at_their_hub(tmp_path: Path) -> None:
    plan = planned(tmp_path, TWO_HUBS)
    first = numbers.assign(plan, Numbers())
    assert first.homes == {"s1": "h1", "s2": "h2", "s3": "h1"}
    third = TWO_HUBS + site("h3", "hub = true", at=3) + site("s4")
    assert numbers.assign(planned(tmp_path, third), first).homes == {**first.homes, "s4": "h3"}
    without = TWO_HUBS.replace(site("h1", "hub = true", at=1), "")
    assert set(numbers.assign(planned(tmp_path, without), first).homes.values()) == {"h2"}


def test_the_lock_file_is_remembered(tmp_path: Path) -> None:
    plan = planned(tmp_path, TWO_HUBS)
    first = numbers.assign(plan, numbers.recall(plan))
    numbers.save(plan, first)
    assert numbers.recall(plan) == first
    # Other tenants, other sites, another order: MACs stay too.
    mac = first.mac(plan.tenants["blue"], "s1")
    again = read(write(tmp_path, TWO_HUBS + site("s0")))
    assert numbers.assign(again, numbers.recall(again)).mac(again.tenants["blue"], "s1") == mac


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"version": 2}',
        '{"version": 1, "seed": "", "homes": {}, "overlay": {}, '
        '"tunnel": {"last": "x", "given": {}}}',
        '{"version": 1, "seed": "", "homes": {}, "overlay": {}, '
        '"tunnel": {"last": 1, "given": {"a": 1, "b": 1}}}',
    ],
)
def test_a_lock_file_that_is_none(text: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    numbers.lock_path(plan).write_text(text)
    with pytest.raises(ConfigError, match="not a lock file of version 1"):
        numbers.recall(plan)


def test_a_mac_is_one_sites_and_one_fleets(tmp_path: Path) -> None:
    plan = planned(tmp_path, MESH)
    tenant = plan.tenants["blue"]
    mine = numbers.assign(plan, Numbers())
    others = numbers.assign(replace(plan, digest="11" * 32), Numbers())
    macs = [found.mac(tenant, name) for found in (mine, others) for name in plan.sites]
    assert len(set(macs)) == len(macs)
    assert all(mac[0] & 3 == 2 for mac in macs)  # locally administered, unicast

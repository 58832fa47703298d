"""`wgvx fleet`, from a plan to begin with to the files of every node."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from tests.fleet.plans import MESH, TWO_HUBS, site, write
from wgvx.cli.main import main


def fleet(action: str, plan: Path, *more: str) -> int:
    return main(["fleet", action, str(plan), *more])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_nothing_to_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "blue.toml"
    assert fleet("init", plan) == 0
    assert fleet("check", plan) == 0
    assert fleet("diff", plan) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["blue.toml"]  # those only look
    capsys.readouterr()
    assert fleet("render", plan) == 0
    captured = capsys.readouterr()
    assert "blue.rendered: 3 nodes, " in captured.out
    assert "; 6 keys made" in captured.out
    assert captured.err == ""
    before = contents(tmp_path)
    assert fleet("diff", plan) == 0
    assert fleet("render", plan) == 0
    captured = capsys.readouterr()
    assert "0 new, 0 changed, 0 removed\n" in captured.out
    assert contents(tmp_path) == before
    for key in (tmp_path / "blue.keys").rglob("*+*"):
        assert key.read_text().strip() not in captured.out


def test_a_plan_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write(tmp_path, MESH)
    assert fleet("init", plan) == 2
    assert "there is such a file" in capsys.readouterr().err
    assert plan.read_text() == MESH


def test_a_plan_that_there_is_no_room_for_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("wgvx.cli.fleet_init.filled", full)
    assert fleet("init", tmp_path / "blue.toml") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_node_more_and_a_node_less(tmp_path: Path) -> None:
    """Nobody else's keys and addresses change, and what was somebody's alone goes."""
    plan = write(tmp_path, TWO_HUBS)
    assert fleet("render", plan) == 0
    before = contents(tmp_path / "fleet.rendered")
    keys = contents(tmp_path / "fleet.keys")
    write(tmp_path, TWO_HUBS + site("s4"))
    assert fleet("render", plan) == 0
    assert (tmp_path / "fleet.rendered/nodes/s4/wgvx/s4.toml").exists()
    assert contents(tmp_path / "fleet.keys").items() > keys.items()
    write(tmp_path, TWO_HUBS)
    assert fleet("render", plan) == 0
    assert contents(tmp_path / "fleet.rendered") == before
    assert not (tmp_path / "fleet.rendered/nodes/s4").exists()


def test_check_shows_the_arithmetic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = TWO_HUBS.replace('name = "h2"', 'name = "h2"\nunderlay_mtu = 1400')
    assert fleet("check", write(tmp_path, narrow)) == 0
    shown = capsys.readouterr().out
    assert 'tenant "blue": VNI 4200, overlay MTU 1250' in shown
    for line in (
        'narrowest underlay, at site "h2" 1400',
        "- outer IPv6 header -40",
        "= tunnel packet 1320",
        "= overlay MTU 1250",
        "s1 > h1 > h2 > s2 1400 1320 1250",
        "s1 > h1 > s3 1500 1420 1350",
    ):
        assert f" {line}\n" in "\n".join(" " + " ".join(row.split()) for row in shown.split("\n"))


def test_check_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet("check", write(tmp_path, MESH), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"plan", "topology", "tunnel", "sites", "tenants", "warnings"}
    assert told["sites"][2] == {
        "name": "c",
        "kind": "wgvx",
        "endpoint": None,
        "hub": False,
        "via": None,
        "tunnel": ["10.254.0.3"],
        "peers": ["a", "b"],
        "underlay_mtu": 1500,
        "tunnel_mtu": 1420,
    }
    (tenant,) = told["tenants"]
    assert tenant["sites"] == {"a": ["10.0.0.1/24"], "b": ["10.0.0.2/24"], "c": ["10.0.0.3/24"]}
    assert tenant["paths"][0] == {
        "sites": ["a", "b"],
        "underlay": 1500,
        "tunnel": 1420,
        "overlay": 1350,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fleet"], "the following arguments are required: ACTION"),
        (["fleet", "check"], "the following arguments are required: PLAN"),
        (["fleet", "check", "blue"], "blue: want a plan's file, which ends in .toml"),
        (["fleet", "check", "nosuch.toml"], "nosuch.toml: cannot be read: No such file"),
    ],
)
def test_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_fault_is_told_by_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write(tmp_path, MESH.replace("4200", "-1"))
    for action in ("check", "diff", "render"):
        assert fleet(action, plan) == 2
        assert f'{plan}:13: [[tenant]] 1 (name "blue"), vni: found -1' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.toml"]


def test_rotate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write(tmp_path, MESH)
    assert fleet("render", plan) == 0
    before = contents(tmp_path / "fleet.keys")
    capsys.readouterr()
    assert fleet("rotate", plan, "a") == 0
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "fleet.rollout/order.txt").read_text()
    assert shown.startswith("1-announce:\n  bring out fleet.rollout/1-announce/\n")
    after = contents(tmp_path / "fleet.keys")
    changed = {path.name for path in after if before[path] != after[path]}
    assert changed == {"a.key", "a+b", "a+c"}
    # What is rendered is where the rollout ends.
    assert fleet("diff", plan) == 0
    for step, names in (("1-announce", "bc"), ("2-switch", "abc")):
        nodes = tmp_path / "fleet.rollout" / step / "nodes"
        assert {path.name for path in nodes.iterdir()} == set(names)
    last = contents(tmp_path / "fleet.rollout/2-switch")
    for path, content in last.items():
        same = tmp_path / "fleet.rendered" / path.relative_to(tmp_path / "fleet.rollout/2-switch")
        assert same.read_bytes() == content
    for path in (tmp_path / "fleet.rollout").rglob("*.toml"):
        assert path.stat().st_mode & 0o077 == 0


def test_remove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write(tmp_path, TWO_HUBS)
    assert fleet("render", plan) == 0
    addresses = json.loads((tmp_path / "fleet.lock").read_text())["tunnel"]["given"]
    assert fleet("remove", plan, "s1", "h1") == 0
    shown = capsys.readouterr().out
    assert "  stop these, and delete their files: h1, s1\n" in shown
    assert f"{plan}: s1, h1 taken out, and the keys deleted\n" in shown
    assert fleet("diff", plan) == 0
    left = json.loads((tmp_path / "fleet.lock").read_text())["tunnel"]["given"]
    assert left == {name: addresses[name] for name in ("h2", "s2", "s3")}
    names = {path.name for path in (tmp_path / "fleet.keys").rglob("*")}
    assert names == {"h2.key", "s2.key", "s3.key", "psk", "h2+s2", "h2+s3"}


@pytest.mark.parametrize("action", ["rotate", "remove"])
def test_first_what_is_planned_then_what_is_next(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write(tmp_path, MESH)
    assert fleet(action, plan, "a") == 2
    assert "fleet.rendered: not what the plan says; want wgvx fleet render" in (
        capsys.readouterr().err
    )
    assert fleet("render", plan) == 0
    write(tmp_path, MESH.replace("4200", "4201"))
    before = contents(tmp_path)
    assert fleet(action, plan, "a") == 2
    assert contents(tmp_path) == before
    write(tmp_path, MESH)
    assert fleet(action, plan, "nosuch") == 2
    assert "there is no site nosuch" in capsys.readouterr().err

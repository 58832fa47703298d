"""Commands that are killed at any of their changes to files: no key and no address is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.fleet.plans import FLEET, TENANT, site, write
from wgvx.cli.main import main

PAIR = FLEET + site("a", at=1) + site("b", at=2) + site("c", at=3) + TENANT
QUICK = "fleet.rendered/nodes/{0}/wg-quick/{0}.conf"


@pytest.fixture(autouse=True)
def no_power_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is processes that die here: nothing need wait for a disk, hundreds of times."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def fleet(folder: Path, action: str, *more: str) -> int:
    return main(["fleet", action, str(folder / "fleet.toml"), *more])


def killed(folder: Path, at: int, action: str, *more: str) -> bool:
    """Run a command in a process of its own, which dies at its `at`th change; whether it did. Of
    what a render makes anew, ten files are one change."""
    child = os.fork()
    if child == 0:
        left = 10 * at

        def deadly(change: Callable[..., object]) -> Callable[..., object]:
            def changed(path: str | Path, *args: object, **options: object) -> object:
                nonlocal left
                again = "fleet.rendered" in str(path) or "fleet.rollout" in str(path)
                left -= 1 if again else 10
                if left < 0:
                    os._exit(9)
                return change(path, *args, **options)

            return changed

        for name in ("rename", "unlink", "mkdir"):
            setattr(os, name, deadly(getattr(os, name)))
        os._exit(fleet(folder, action, *more))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9)
    return code == 9


def each_death(origin: Path, action: str, *more: str) -> Iterator[Path]:
    """A copy of a folder for each change at which the command can die, dead there."""
    for at in count():
        copy = origin.with_name(f"{origin.name}-{at}")
        shutil.copytree(origin, copy)
        if not killed(copy, at, action, *more):
            return
        yield copy
        shutil.rmtree(copy)


def identity(folder: Path, name: str) -> list[str]:
    """What makes a node the one that its peers know."""
    lines = (folder / QUICK.format(name)).read_text().splitlines()
    return [line for line in lines if line.startswith(("PrivateKey", "Address"))]


@pytest.fixture(name="origin")
def rendered(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    write(folder, PAIR)
    assert fleet(folder, "render") == 0
    return folder


def test_render(tmp_path: Path) -> None:
    """Whoever brought out what was there by then has brought out nothing that another render
    changes."""
    origin = tmp_path / "origin"
    origin.mkdir()
    write(origin, PAIR)
    for folder in each_death(origin, "render"):
        there = {name: folder / QUICK.format(name) for name in "abc"}
        before = {name: identity(folder, name) for name, path in there.items() if path.exists()}
        assert fleet(folder, "render") == 0
        assert before.items() <= {name: identity(folder, name) for name in "abc"}.items()


def test_rotate(origin: Path) -> None:
    """The others keep theirs, and after a render it can be done again."""
    before = {name: identity(origin, name) for name in "abc"}
    for folder in each_death(origin, "rotate", "a"):
        assert fleet(folder, "render") == 0
        assert identity(folder, "b") == before["b"]
        assert fleet(folder, "rotate", "a") == 0
        assert identity(folder, "a") != before["a"]
        assert identity(folder, "c") == before["c"]


def test_remove(origin: Path) -> None:
    """A site is in the plan with the keys and addresses that it had, or it is not."""
    before = {name: identity(origin, name) for name in "abc"}
    for folder in each_death(origin, "remove", "a"):
        is_there = '"a"' in (folder / "fleet.toml").read_text()
        assert fleet(folder, "render") == 0
        for name in "abc" if is_there else "bc":
            assert identity(folder, name) == before[name]
        if is_there:
            assert fleet(folder, "remove", "a") == 0


def test_import(origin: Path, tmp_path: Path) -> None:
    """There is no plan yet, or one with all keys."""
    files = [str(origin / QUICK.format(name)) for name in "abc"]
    before = {name: identity(origin, name)[0] for name in "abc"}
    new = tmp_path / "new"
    new.mkdir()
    for folder in each_death(new, "import", *files):
        if not (folder / "fleet.toml").exists():
            assert fleet(folder, "import", *files) == 0
        assert fleet(folder, "render") == 0
        assert {name: identity(folder, name)[0] for name in "abc"} == before

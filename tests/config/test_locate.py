"""From a name to a file, and from a file to a node's name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.config.files import (
    NODE,
    write,
)
from wgvx.config import (
    ConfigError,
    find,
    load,
    node_name,
)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr("wgvx.config.locate.SYSTEM_DIRECTORY", tmp_path / "etc")
    (tmp_path / "xdg" / "wgvx").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


def test_bare_names_are_looked_up_the_users_own_first(places: Path) -> None:
    own, system = places / "xdg" / "wgvx" / "a.toml", places / "etc" / "a.toml"
    Path("a.toml").touch()
    with pytest.raises(ConfigError) as caught:
        find("a")
    assert str(caught.value) == (
        f"a: no such node file, looked for {own} and {system}; did you mean ./a.toml?"
    )
    system.touch()
    assert find("a") == system
    own.touch()
    assert find("a") == own
    assert find("a.toml") == Path("a.toml")
    assert find(str(system)) == system


def test_missing_files_and_the_default_place(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=re.escape("./b.toml: no such file")):
        find("./b.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(places / "home"))
    with pytest.raises(ConfigError, match=re.escape(str(places / "home/.config/wgvx/b.toml"))):
        find("b")


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        *(
            ("a", "a"),
            ("a.toml", "a"),
            ("./a", "a"),
            ("/etc/wgvx/a.toml", "a"),
            ("x/../b.toml", "b"),
        ),
        *(("a.b", "a.b"), ("x/a.b.toml", "a.b"), ("A_=+.-9", "A_=+.-9"), ("a" * 15, "a" * 15)),
    ],
)
def test_node_names(given_name: str, name: str) -> None:
    assert node_name(given_name) == name


@pytest.mark.parametrize("bad", ["", "a" * 16, "a b", "é", "x/my node.toml", "/", "a\n", "a:b"])
def test_names_that_no_node_can_have(bad: str) -> None:
    with pytest.raises(ConfigError, match="as the node's name, want 1 to 15 of the characters"):
        node_name(bad)


def test_a_file_is_refused_for_a_stem_that_names_no_node(tmp_path: Path) -> None:
    path = write(tmp_path, NODE, "my node.toml")
    with pytest.raises(ConfigError, match='found "my node" as the node\'s name'):
        load(path)

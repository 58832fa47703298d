"""The manual pages: complete, and as groff and mandoc want them."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.manual.build import write
from wgvx.cli.main import COMMANDS, make_parser
from wgvx.config.table import KEYS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man")
    write(made)
    return made


def text(page: Path) -> str:
    """The page without its markup, a line each."""
    return re.sub(r"\\f[BIR]|\\&", "", page.read_text()).replace("\\-", "-")


def run(*command: str, package: str, **environment: str) -> str:
    """All that it says."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {package}")
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", **environment},
        text=True,
        check=False,
    )
    return done.stdout


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """It and all below."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_there_is_a_page_for_each_command_and_the_file(folder: Path) -> None:
    wanted = {"wgvx.1", "wgvx.toml.5", *(f"wgvx-{command.name}.1" for command in COMMANDS)}
    assert {path.name for path in folder.glob("man?/*")} == wanted


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_a_page_has_every_argument_and_example(folder: Path, name: str) -> None:
    shown = text(folder / "man1" / f"wgvx-{name}.1")
    lines = shown.split("\n")
    _, commands, _ = make_parser([name])
    for parser in parsers(commands.choices[name]):
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
                continue
            label = ", ".join(action.option_strings)
            label = label or str(action.metavar)
            assert [line for line in lines if line.lstrip("[").startswith(label)], label
    assert '.SH "EXIT STATUS"' in shown
    assert re.search(r'^\.SH "EXAMPLES?"\n\.RS 4\n\.EX\n *(\S.*; )?wgvx ', shown, re.MULTILINE) or (
        f"wgvx {name}" in shown
    )


def test_the_files_page_has_every_key(folder: Path) -> None:
    shown = text(folder / "man5" / "wgvx.toml.5")
    items = re.findall(r"^\.TP\n(\S+)$", shown, re.MULTILINE)
    for keys in KEYS.values():
        assert set(keys) - {"node", "peer", "network"} <= set(items)
    assert "](" not in shown
    assert not re.search(r"^\|", shown, re.MULTILINE)


def test_groff_has_nothing_to_say(folder: Path) -> None:
    for page in folder.glob("man?/*"):
        said = run(
            "groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-z", str(page), package="groff-base"
        )
        assert said == "", page.name


def test_mandoc_has_nothing_to_say(folder: Path) -> None:
    for page in folder.glob("man?/*"):
        assert run("mandoc", "-T", "lint", "-W", "warning", str(page), package="mandoc") == ""


def test_a_page_reads_well(folder: Path) -> None:
    shown = run("man", "-M", str(folder), "wgvx-down", package="man-db", MANPAGER="cat")
    assert "NAME\n       wgvx-down - stop a running node\n" in shown
    assert "EXAMPLES\n           wgvx down site-a\n" in shown


def test_they_are_installed_where_man_looks(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", "install_data", "--install-dir", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )
    assert (tmp_path / "share" / "man" / "man1" / "wgvx-up.1").is_file()
    assert (tmp_path / "share" / "man" / "man5" / "wgvx.toml.5").is_file()

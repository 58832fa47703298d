"""What TAB does, in real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.config.files import NODE, write
from wgvx.cli.completion import SHELLS
from wgvx.cli.main import COMMANDS

PATIENCE = 20.0

INTERACTIVE = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
BEFORE = {
    "bash": 'eval "$(wgvx completion bash)"',
    "zsh": 'autoload -U compinit && compinit -D -u && eval "$(wgvx completion zsh)"',
    "fish": "wgvx completion fish | source",
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"missing: apt-get install -y --no-install-recommends {name}")
    return name


def command_in(folder: Path) -> None:
    """A `wgvx` for the PATH."""
    script = folder / "bin" / "wgvx"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wgvx "$@"\n')
    script.chmod(0o755)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home with a `wgvx` on the PATH, and files of nodes."""
    command_in(tmp_path)
    nodes = tmp_path / "config" / "wgvx"
    nodes.mkdir(parents=True)
    write(nodes, NODE, "harbour.toml")
    write(tmp_path, NODE, "nearby.toml")
    (tmp_path / "nearby.key").touch()
    (tmp_path / "blue.toml").write_text('[[site]]\nname = "rotterdam"\n[[site]]\nname = "oslo"\n')
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


class Terminal:
    """A shell that somebody types into."""

    def __init__(self, shell: str, home: Path) -> None:
        self._leader, follower = pty.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *INTERACTIVE[shell]],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=home,
            env=environment(home),
        )
        os.close(follower)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def until(self, pattern: str) -> re.Match[str]:
        """What was shown since the last call, as far as it matches."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self._seen)) is None:
            ready, _, _ = select.select([self._leader], [], [], deadline - time.monotonic())
            assert ready, f"no {pattern!r} in {self._seen!r}"
            self._seen += os.read(self._leader, 65536).decode(errors="replace")
        self._seen = self._seen[found.end() :]
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._leader)


@pytest.fixture
def terminal(shell: str, home: Path) -> Iterator[Terminal]:
    opened = Terminal(shell, home)
    try:
        opened.type(f"{BEFORE[shell]}; echo rea''dy\n")
        opened.until(r"\bready\b")
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("wgvx gen\tk\t", "wgvx genkey"),
        ("wgvx fleet rem\t", "wgvx fleet remove"),
        ("wgvx check harb\t--j\t", "wgvx check harbour --json"),
        ("wgvx up near\t--user\t", "wgvx up nearby.toml --userspace"),
        ("wgvx fleet rotate bl\tos\t", "wgvx fleet rotate blue.toml oslo"),
        ("wgvx help doc\t", "wgvx help doctor"),
    ],
)
def test_tab_completes_the_line(terminal: Terminal, typed: str, completed: str) -> None:
    for piece in re.findall(r"[^\t]+\t?", typed):
        terminal.type(piece)
    terminal.type("\x01echo 'li'ne: \n")
    said = terminal.until(r"\nline: (.*?)\s*\r?\n")[1]
    assert said == completed


def offered(line: str, env: dict[str, str], cwd: Path, prefix: Sequence[str] = ()) -> list[str]:
    """What bash would list."""
    ask = f'{BEFORE["bash"]}; _python_argcomplete wgvx; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        [*prefix, "bash", "--norc", "-c", ask],
        cwd=cwd,
        env={**env, "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return sorted(done.stdout.split())


def test_every_command_is_offered(home: Path) -> None:
    names = [command.name for command in COMMANDS]
    assert offered("wgvx ", environment(home), home) == sorted(["help", *names])


def test_options_are_offered_behind_a_dash_only(home: Path) -> None:
    assert offered("wgvx mtu ", environment(home), home) == []
    assert "--json" in offered("wgvx mtu -", environment(home), home)


def test_what_a_command_behind_two_dashes_takes_is_not_ours(home: Path) -> None:
    for line in ("wgvx up near -- ping -", "wgvx exec near -- "):
        assert offered(line, environment(home), home) == []


def test_files_of_keys_are_no_nodes(home: Path) -> None:
    assert offered("wgvx check near", environment(home), home) == ["nearby.toml"]


def test_a_broken_plan_offers_nothing(home: Path) -> None:
    (home / "blue.toml").write_text("[[site]\n")
    assert offered("wgvx fleet rotate blue.toml ", environment(home), home) == []


def test_running_nodes_and_their_networks_are_offered(place: Place) -> None:
    command_in(place.folder)
    socket = place.folder / "vm.sock"
    file = place.folder / "wgvx" / "a.toml"
    vm = f'attach = [{{ type = "stream", name = "vm1", listen = "{socket}" }}]'
    file.write_text(f"{file.read_text()}\n[[network]]\nvni = 4200\nremotes = []\n{vm}\n")
    shutil.copy(file, file.with_name("idle.toml"))
    place.up()
    env = {**environment(place.folder), **place.env, "PATH": environment(place.folder)["PATH"]}

    def ask(line: str) -> list[str]:
        return offered(line, env, place.folder, place.user.prefix)

    for command in ("show", "fdb", "down", "exec", "reload"):
        # With a folder of root's that hides nodes, those of files, too: sudo may be before wgvx.
        assert ask(f"wgvx {command} ") in (["a"], ["a", "idle"]), command
    assert {"a", "idle"} < set(ask("wgvx up "))  # and folders
    assert ask("wgvx fdb a --vni ") == ["4200"]
    assert ask("wgvx fdb nobody --vni ") == []
    assert "del" in ask("wgvx fdb a ")

"""Where an ordinary user runs nodes, and how tests watch them."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.config.files import NODE, write
from tests.ports.ordinary import User

PATIENCE = 20.0


class Place:
    """An ordinary user's own folders, and a node's file in them: `a`, without any network."""

    def __init__(self, folder: Path, user: User) -> None:
        self.folder = folder
        self.user = user
        self.run = folder / "run"
        self.run.mkdir(mode=0o700)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("0.0.0.0", 0))
            self.port = probe.getsockname()[1]
        self.env = {
            **user.env,
            "XDG_RUNTIME_DIR": str(self.run),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder),
            "TMPDIR": str(folder),
        }
        self.write("a", NODE.replace("[node]\n", f"[node]\nlisten_port = {self.port}\n"))
        self.own()
        self.started: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> None:
        (self.folder / "wgvx").mkdir(exist_ok=True)
        write(self.folder / "wgvx", text, f"{name}.toml")

    def own(self) -> None:
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self.user.uid, self.user.uid)

    def command(self, *arguments: str) -> list[str]:
        return [*self.user.prefix, sys.executable, "-m", "wgvx", *arguments]

    def wgvx(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            self.command(*arguments),
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env=self.env,
            timeout=PATIENCE,
        )

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd="/",
            env=self.env,
        )
        self.started.append(process)
        return process

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        """A node that is ready."""
        process = self.start("up", "a", *arguments)
        assert process.stdout is not None
        assert line(process) == "wgvx: a ready", process.communicate()
        return process

    def left(self) -> list[str]:
        """What lies where running nodes are found."""
        return sorted(path.name for path in self.run.rglob("*") if not path.is_dir())

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def line(process: subprocess.Popen[str], patience: float = PATIENCE) -> str:
    """The next line on standard output; empty at its end."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], patience)
    return process.stdout.readline().rstrip("\n") if ready else ""


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status, and standard error but for the words that wg(8) will not work and of what the
    node gave up."""
    _, stderr = process.communicate(timeout=PATIENCE)
    usual = re.compile(r"wgvx: (wg\(8\) cannot see|confined: no capabilities, )")
    lines = [said for said in stderr.splitlines(True) if not usual.match(said)]
    return process.returncode, "".join(lines)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def children(pid: int) -> list[str]:
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    return found

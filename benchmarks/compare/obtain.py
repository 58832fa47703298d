"""Finds what a run needs, and builds or installs what can be had.

Debian's packages come through apt-get, the newest wireguard-go from the Go module proxy, boringtun
from crates.io; what is built goes into benchmarks/out/.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "out"
BUILD_TIMEOUT = 1800.0
SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
TOOLCHAINS = ("/usr/local/go/bin", "/usr/lib/go/bin", str(Path.home() / ".cargo/bin"))


class Missing(Exception):  # noqa: N818 - not an error, the run goes on
    """Something cannot be had here: why, and the command that would bring it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason.strip()
        self.remedy = remedy


def say(text: str) -> None:
    print(f"compare: {text}", file=sys.stderr, flush=True)


def find(command: str, also: Iterable[str] = SYSTEM_PATHS) -> str | None:
    """The path of a command, on PATH or where a login shell of root's would look."""
    return shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", ""), *also]))


def debian(command: str, package: str) -> str:
    """The path of a command that a Debian package has; the package is installed where need be."""
    if (path := find(command)) is not None:
        return path
    remedy = f"apt-get install --no-install-recommends {package}"
    if find("apt-get") is None or os.geteuid() != 0:
        raise Missing(f"no {command} here", remedy)
    say(f"installing {package}")
    _refresh_package_lists()
    _apt_get("install", "--yes", "--no-install-recommends", package)
    if (path := find(command)) is None:
        raise Missing(f"apt-get could not install {package}", remedy)
    return path


@functools.cache
def _refresh_package_lists() -> None:
    _apt_get("update")


def _apt_get(*args: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "--quiet", *args], env=environment, check=False, stdout=sys.stderr)


def debian_version(package: str) -> str:
    """What dpkg knows of a package."""
    ask = ["dpkg-query", "--show", "--showformat", "${Version}", package]
    return f"{package} {_output(ask) or '(version unknown)'}"


def first_line(*command: str) -> str:
    """The first line that a command prints."""
    return (_output(command) or "").partition("\n")[0]


def _output(command: Iterable[str]) -> str | None:
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return None
    return (done.stdout or done.stderr).strip()


WIREGUARD_GO = "golang.zx2c4.com/wireguard"


def newest_wireguard_go() -> tuple[str, str]:
    """wireguard-go from the Go proxy: its path and version."""
    program = OUT / "wireguard-go" / "wireguard"
    remedy = f"GOBIN={program.parent} go install {WIREGUARD_GO}@latest"
    go = find("go", TOOLCHAINS)
    if not program.exists():
        if go is None:
            raise Missing("no Go toolchain here (1.23 or newer)", remedy)
        _build(
            "the newest wireguard-go",
            [go, "install", f"{WIREGUARD_GO}@latest"],
            {"GOBIN": str(program.parent)},
            remedy,
        )
    module = (_output([go, "version", "-m", str(program)]) or "") if go else ""
    rows = [line.split() for line in module.splitlines()]
    versions = [row[2] for row in rows if row[:2] == ["mod", WIREGUARD_GO]]
    return str(program), f"wireguard-go {versions[0] if versions else '(version unknown)'}"


def onetun() -> tuple[str, str]:
    """onetun from crates.io: its path and version."""
    return _from_crates("onetun", "onetun")


def boringtun() -> tuple[str, str]:
    """boringtun-cli from crates.io: its path and version."""
    return _from_crates("boringtun-cli", "boringtun")


def _from_crates(crate: str, folder: str) -> tuple[str, str]:
    root = OUT / folder
    program = root / "bin" / crate
    remedy = f"cargo install {crate} --root {root}"
    if not program.exists():
        cargo = find("cargo", TOOLCHAINS)
        if cargo is None:
            raise Missing("no Rust toolchain here", remedy)
        _build(
            crate,
            [cargo, "install", crate, "--root", str(root)],
            {"CARGO_TARGET_DIR": str(root / "target")},
            remedy,
        )
    return str(program), first_line(str(program), "--version")


def _build(what: str, command: list[str], environment: dict[str, str], remedy: str) -> None:
    say(f"building {what} (once; it stays in benchmarks/out/)")
    # A toolchain finds its compiler and its parts beside itself.
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, **environment}
    try:
        done = subprocess.run(
            ["nice", "-n", "10", *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{what}: not built after {BUILD_TIMEOUT:g} s", remedy) from None
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise Missing(f"{what} does not build: {last}", remedy)

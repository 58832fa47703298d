"""What the guest is made of: commands of this host, and the distribution's kernel package.

The kernel is downloaded and unpacked, never installed.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Where an ordinary user's PATH does not lead.
SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# Command -> Debian package. What runs in the guest, and what builds and runs it.
GUEST_COMMANDS = {
    "busybox": "busybox-static",
    "dash": "dash",
    "ip": "iproute2",
    "bridge": "iproute2",
    "tc": "iproute2",
    "ss": "iproute2",
    "ping": "iputils-ping",
    "wg": "wireguard-tools",
    "iperf3": "iperf3",
    "tcpdump": "tcpdump",
    "tcpreplay": "tcpreplay",
    "nft": "nftables",
    # busybox has these, too, but its own would start its own "ip" and "ping" and not the real ones.
    **dict.fromkeys(("env", "nice", "nohup", "timeout", "date"), "coreutils"),
    **dict.fromkeys(("nsenter", "setpriv", "setsid", "taskset", "unshare"), "util-linux"),
    **dict.fromkeys(("find", "xargs"), "findutils"),
}
HOST_COMMANDS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "gcc": "gcc",
    "modprobe": "kmod",
    "depmod": "kmod",
}
# Debian's name for "the newest kernel for virtual machines", and Ubuntu's.
META_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")


class CannotBuildError(Exception):
    """A step of the build failed: which, and what it said."""


class UnavailableError(CannotBuildError):
    """This host lacks something: what, and the command that would bring it."""


@dataclass(frozen=True)
class Package:
    """A Debian package in the version that apt would install."""

    name: str
    version: str
    depends: str

    def __str__(self) -> str:
        return f"{self.name}={self.version}"


def find(command: str) -> str | None:
    """The path of a command, on PATH or where a login shell of root's would look."""
    return shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_PATHS]))


def obstacle() -> str | None:
    """Why no guest can be built or run here, and the command that would change that."""
    if platform.machine() != "x86_64":
        return f"the guest is an x86-64 machine, this one is {platform.machine()}"
    if find("apt-get") is None or find("dpkg-deb") is None:
        return "needs Debian or Ubuntu: the guest's kernel comes by apt-get"
    commands = GUEST_COMMANDS | HOST_COMMANDS
    missing = {package for command, package in commands.items() if find(command) is None}
    if not list(Path("/usr/lib").glob("*/libc.a")):
        missing.add("libc6-dev")
    if missing:
        return f"missing: apt-get install -y --no-install-recommends {' '.join(sorted(missing))}"
    try:
        kernel_packages()
    except UnavailableError as error:
        return str(error)
    return None


def path_of(command: str) -> str:
    """The path of a command that is here unless :func:`obstacle` says otherwise."""
    path = find(command)
    assert path is not None, command
    return path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        line = " ".join(str(word) for word in command)
        raise CannotBuildError(f"{line}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def kernel_packages() -> tuple[Package, ...]:
    """The packages that hold the kernel and its modules."""
    for meta in META_PACKAGES:
        found = _known(meta)
        image = re.search(r"linux-image-(\d\S*)", found.depends) if found else None
        if image:
            # Ubuntu has the modules in a package of their own.
            names = (image[0], f"linux-modules-{image[1]}")
            return tuple(package for name in names if (package := _known(name)))
    raise UnavailableError(f"apt knows none of {', '.join(META_PACKAGES)}: apt-get update")


def _known(name: str) -> Package | None:
    try:
        text = run("apt-cache", "show", "--no-all-versions", name)
    except CannotBuildError:
        return None
    fields = dict(re.findall(r"^(\S+): (.*)$", text, re.MULTILINE))
    if "Version" not in fields:  # a virtual package
        return None
    return Package(name, fields["Version"], fields.get("Depends", ""))


def download(package: Package, folder: Path) -> Path:
    """The package's file in ``folder``, from the archive unless it is there already."""
    file = folder / f"{package.name}_{package.version.replace(':', '%3a')}.deb"
    if not file.exists():
        fresh = folder / "partial"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            run("apt-get", "download", str(package), cwd=fresh)
        except CannotBuildError as error:
            raise UnavailableError(f"{error}\nThe lists may be old: apt-get update") from None
        (downloaded,) = fresh.iterdir()
        downloaded.rename(file)
        fresh.rmdir()
    return file


def unpack(files: Sequence[Path], folder: Path) -> None:
    """The packages' contents in ``folder``, the modules at lib/modules."""
    for file in files:
        run("dpkg-deb", "-x", file, folder)
    if (folder / "usr/lib/modules").exists() and not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")

"""Real containers, of podman's, in the network namespace of a host of the lab.

No image is downloaded, and none is built: the root file system is a folder of a few links, into
which this machine's /usr, its Python and wgvx are mounted read-only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.netns.lab import PREFIX, RUN_NETNS, Lab, Namespace, Place, Process, unique_name

REPOSITORY = Path(__file__).resolve().parents[2]
USR_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

# What Docker and containerd give beyond podman's own default.
DOCKER = ("--cap-add", "AUDIT_WRITE,MKNOD,NET_RAW")
# The profile "restricted" of Kubernetes' pod security standards, and its read-only root.
RESTRICTED = (
    *("--user", "65534:65534", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),
)
NET_ADMIN = ("--cap-add", "NET_ADMIN")
TUN = ("--device", "/dev/net/tun")


class Container(Place):
    """One container with these options of ``podman run``; its first process is what is started.

    ``folder`` is there under the same path, read-only like a Secret of Kubernetes, and in it
    ``shared``, which may be written.
    """

    def __init__(self, lab: Lab, host: Namespace, *options: str, uid: int = 0) -> None:
        super().__init__(lab, Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")))
        lab.at_end.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.host, self.options, self.uid = host, options, uid
        self.name = unique_name("box")
        self.shared = self.folder / "shared"
        for folder in (self.folder, self.shared):
            folder.mkdir(exist_ok=True)
            os.chown(folder, uid, uid)
        self.root = _root(Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")))
        lab.at_end.callback(shutil.rmtree, self.root, ignore_errors=True)
        self._started = False

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = super().write(name, text, mode)
        os.chown(path, self.uid, self.uid)
        return path

    def wrap(self, *command: str) -> list[str]:
        if self._started:
            return ["podman", "exec", self.name, *command]
        return [*self._run("--rm"), *command]

    def start(self, *command: str, log: str) -> Process:
        """As the container's first process; other commands run beside it from then on."""
        logs = self.folder / log
        process = Process([*self._run("--name", self.name), *command], " ".join(command), logs,
                          self.env, self.folder)  # fmt: skip
        self._started = True
        self.lab.processes.append(process)
        self.lab.at_end.callback(self.remove)
        return process

    def remove(self) -> None:
        """Whatever state it is in."""
        subprocess.run(
            ["podman", "rm", "--force", "--time", "3", "--ignore", self.name],
            check=False, capture_output=True,
        )  # fmt: skip
        self._started = False

    def _run(self, *more: str) -> list[str]:
        # podman asks for more by default than a root without CAP_SYS_RESOURCE may have.
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        mounts = [f"{path}:{path}:ro" for path in _needed()]
        mounts += [f"{self.folder}:{self.folder}:ro", f"{self.shared}:{self.shared}"]
        return [
            *("podman", "run", "--runtime", "runc", *limits, *more),
            *("--network", f"ns:{RUN_NETNS / self.host.name}", *self.options),
            *(word for mount in mounts for word in ("--volume", mount)),
            *("--workdir", str(self.folder), "--env", "PYTHONDONTWRITEBYTECODE=1"),
            *("--rootfs", str(self.root)),
        ]


def _root(folder: Path) -> Path:
    """A root file system to mount the rest into."""
    folder.chmod(0o755)
    for name in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var"):
        (folder / name).mkdir()
    (folder / "tmp").chmod(0o1777)
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    for name in USR_MERGED:
        if Path("/", name).is_symlink():
            (folder / name).symlink_to(Path("/", name).readlink())
    return folder


def _needed() -> list[Path]:
    """What is mounted read-only: /usr, Python, wgvx."""
    needed = [Path("/usr"), *(Path("/", name) for name in USR_MERGED)]
    needed += [Path(path).resolve() for path in (sys.base_prefix, sys.prefix)]
    needed.append(REPOSITORY)
    return [path for path in needed if path.is_dir() and not path.is_symlink()
            and not any(parent in needed for parent in path.parents)]  # fmt: skip

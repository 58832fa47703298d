"""Real containers, of podman's, in the network namespace of a host of the lab.

No image is downloaded, and none is built: the root file system is a folder of a few links, into
which this machine's /usr, its Python and wgvx are mounted read-only.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.netns.lab import PREFIX, RUN_NETNS, Lab, Namespace, Place, Process, unique_name
from tests.netns.ordinary import REPOSITORY

# podman asks for higher limits than a root without CAP_SYS_RESOURCE may have. Whatever becomes of
# the tests, no container stays for longer than two minutes.
RUN = ("run", "--timeout", "120", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
USR_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

# Docker and containerd give these by default, podman does not.
DOCKERS_CAPABILITIES = ("--cap-add", "AUDIT_WRITE,MKNOD,NET_RAW")
TUN = ("--device", "/dev/net/tun")
# A hostPath of Kubernetes; podman alone would have no devices work on what is mounted.
TUN_VOLUME = ("--volume", "/dev/net/tun:/dev/net/tun:dev")


class Container(Place):
    """A container with these options of ``podman run``. Its first process is what is started; other
    commands run beside that one, or after its end in a container of their own.

    ``folder`` is there under its own path, read-only like a Secret of Kubernetes, and in it
    ``shared``, which may be written, like an emptyDir.
    """

    def __init__(self, lab: Lab, host: Namespace, *options: str, uid: int = 0) -> None:
        super().__init__(lab, Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")))
        lab.at_end.callback(shutil.rmtree, self.folder)
        self.host, self.options, self.uid = host, options, uid
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        for folder in (self.folder, self.shared):
            os.chown(folder, uid, uid)
        self._root = empty_root()
        lab.at_end.callback(shutil.rmtree, self._root)
        self._name = unique_name("box")
        self._process: Process | None = None

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = super().write(name, text, mode)
        os.chown(path, self.uid, self.uid)
        return path

    def wrap(self, *command: str) -> list[str]:
        if self._process is not None and self._process.returncode() is None:
            return [*podman(), "exec", self._name, *command]
        return [*self._run(), *command]

    def start(
        self, *command: str, log: str, through: Sequence[str] = (), options: Sequence[str] = ()
    ) -> Process:
        """Start it, ``through`` a command that becomes podman, with some more options."""
        # Not told by the death of its parent, as elsewhere: the parent is not in there.
        words = [*through, *self._run("--name", self._name, *options), *command]
        self._process = Process(words, " ".join(words), self.folder / log, self.env, self.folder)
        self.lab.processes.append(self._process)
        self.lab.at_end.callback(self._remove)
        return self._process

    def _remove(self) -> None:
        remove = (*podman(), "rm", "--force", "--time", "1", "--ignore", self._name)
        subprocess.run(remove, check=True, capture_output=True)

    def _run(self, *options: str) -> list[str]:
        mounts = [f"{path}:{path}:ro" for path in (*_needed(), self.folder)]
        mounts.append(f"{self.shared}:{self.shared}")
        return [
            *(*podman(), *RUN, "--rm", "--network", f"ns:{RUN_NETNS / self.host.name}"),
            *(word for mount in mounts for word in ("--volume", mount)),
            *("--workdir", str(self.folder), "--env", "PYTHONWARNINGS=default"),
            *(*self.options, *options, "--rootfs", str(self._root)),
        ]


@functools.cache
def podman() -> tuple[str, ...]:
    """podman with a storage of its own, on any file system; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    atexit.register(shutil.rmtree, folder)
    storage = ("--storage-driver", "vfs", "--root", str(folder / "root"))
    return ("podman", *storage, "--runroot", str(folder / "run"), "--runtime", "runc")


def empty_root() -> Path:
    """A root file system to mount the rest into."""
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    root.chmod(0o755)
    for name in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    shutil.copy("/etc/ld.so.cache", root / "etc")  # where libseccomp is looked up
    for name in USR_MERGED:
        original = Path("/", name)
        if original.is_symlink():
            (root / name).symlink_to(original.readlink())
    return root


def _needed() -> list[Path]:
    """/usr, Python and wgvx, each folder once."""
    wanted = [Path("/usr"), *(Path("/", name) for name in USR_MERGED)]
    wanted += [Path(path).resolve() for path in (sys.base_prefix, sys.prefix, REPOSITORY)]
    folders = {path for path in wanted if path.is_dir() and not path.is_symlink()}
    return sorted(path for path in folders if folders.isdisjoint(path.parents))

"""An ordinary user: ourselves, or where the tests run as root, someone without any privilege.

The user must be able to read wgvx and its interpreter. Where these lie under a closed folder (a
home of mode 0700), the user's commands get a mount namespace in which every closed folder on the
way shows nothing but what is needed, at the same path as ever.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from tests.netns.lab import PREFIX, Lab, Namespace, Place
from tests.support.account import UID

REPOSITORY = Path(__file__).resolve().parents[2]


class OrdinaryUser(Place):
    """An account with a home of its own, in the namespace ``host`` or in the machine's."""

    def __init__(self, lab: Lab, host: Namespace | None = None) -> None:
        super().__init__(lab, Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")))
        lab.at_end.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.is_root = os.geteuid() == 0
        self.uid = UID if self.is_root else os.geteuid()
        self.host = host
        runtime = self.folder / "run"
        runtime.mkdir(0o700)
        if self.is_root:
            os.chown(self.folder, self.uid, self.uid)
            os.chown(runtime, self.uid, self.uid)
            # Where wgvx keeps its sockets without a runtime folder.
            lab.at_end.callback(shutil.rmtree, f"/tmp/wgvx-{self.uid}", ignore_errors=True)
        for key in [key for key in self.env if key.startswith(("XDG_", "SUDO_"))]:
            del self.env[key]
        self.env |= {"HOME": str(self.folder), "XDG_RUNTIME_DIR": str(runtime)}
        self.become = self._become() if self.is_root else []
        """The words before a command that root starts, which make it the user's."""

    def wrap(self, *command: str) -> list[str]:
        inside = self.host.wrap() if self.host else []
        return [*inside, *self.become, *command]

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = super().write(name, text, mode)
        if self.is_root:
            os.chown(path, self.uid, self.uid)
        return path

    def _become(self) -> list[str]:
        """The command that gives up root and starts its arguments."""
        identity = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        drop = ["setpriv", *identity, "--inh-caps=-all"]
        needed = [Path(path).resolve() for path in (sys.prefix, sys.base_prefix, REPOSITORY)]
        closed = {
            folder for path in needed for folder in path.parents if not _open_to_others(folder)
        }
        if not closed:
            return drop
        stash = Path(tempfile.mkdtemp(dir=self.folder))
        script = ["set -e", "umask 022"]
        for number, path in enumerate(needed):
            (stash / str(number)).mkdir()
            script.append(f"mount --rbind {shlex.quote(str(path))} {stash}/{number}")
        for folder in sorted(closed):
            quoted = shlex.quote(str(folder))
            script.append(f"if [ -d {quoted} ]; then mount -t tmpfs -o mode=755 tmpfs {quoted}; fi")
        for number, path in enumerate(needed):
            if not closed.isdisjoint(path.parents):
                quoted = shlex.quote(str(path))
                script.append(f"mkdir -p {quoted}; mount --rbind {stash}/{number} {quoted}")
        script.append(f'exec {shlex.join(drop)} "$@"')
        unshare = ["unshare", "--mount", "--propagation", "private"]
        return [*unshare, "sh", "-c", "\n".join(script), "sh"]


def _open_to_others(folder: Path) -> bool:
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IXOTH and mode & stat.S_IROTH)

"""The place: four network namespaces, the cables between them, and nothing left afterwards.

```
            192.0.2.0/24
   a ─────────────────────── b ──── crowd      198.18.0.0/24: where floods come from
   │ .1                   .2 │
   └───────── hub ───────────┘                 198.51.100.0/24 and 203.0.113.0/24
```

Nothing that is sent here can leave: no namespace has a way out.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare.processes import GRACE, Process, run

PREFIX = "wgvxb"
UAPI_SOCKETS = Path("/var/run/wireguard")
NODES = Path("/run/wgvx")
"""wgvx's sockets and locks."""


class Host:
    """A network namespace, and what runs in it."""

    def __init__(self, label: str, folder: Path) -> None:
        self.label = label
        self.folder = folder
        self.name = f"{PREFIX}{os.getpid()}{label}"
        self.addresses: dict[str, str] = {}
        """This host's underlay address on the cable to another one."""
        self._numbers = itertools.count()
        self._processes: list[Process] = []
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def close(self) -> None:
        for process in reversed(self._processes):
            process.end()
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, timeout: float = GRACE) -> str:
        """Run a command to its end; what it printed."""
        return run(*self.inside(*command), timeout=timeout)

    def start(self, *command: str) -> Process:
        """Start a command that stays."""
        self._processes = [process for process in self._processes if not process.ended]
        log = self.folder / f"{self.label}-{next(self._numbers)}.log"
        # It must not outlive us even where we are killed.
        process = Process(self.inside("setpriv", "--pdeathsig", "KILL", *command), log)
        self._processes.append(process)
        return process

    def ip(self, *args: str) -> None:
        run("ip", "-netns", self.name, *args)

    def has_device(self, name: str) -> bool:
        show = ["ip", "-netns", self.name, "link", "show", "dev", name]
        return subprocess.run(show, capture_output=True, check=False).returncode == 0

    def received_bytes(self, device: str) -> int:
        """What a device has let in so far, headers included."""
        text = run("ip", "-netns", self.name, "-json", "-stats", "link", "show", "dev", device)
        return int(json.loads(text)[0]["stats64"]["rx"]["bytes"])

    def give(self, device: str, address: str, mtu: int) -> None:
        """Up, with an address in a /24."""
        self.ip("address", "add", f"{address}/24", "dev", device)
        self.ip("link", "set", device, "mtu", str(mtu), "up")


class Lab:
    """The hosts, joined. A cable's end is called after who is at the other one: ``to-b``."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.a, self.b, self.hub, self.crowd = map(self.add_host, ("a", "b", "hub", "crowd"))
        self._join(self.a, self.b, "192.0.2")
        self._join(self.a, self.hub, "198.51.100")
        self._join(self.b, self.hub, "203.0.113")
        self._join(self.b, self.crowd, "198.18.0")

    def add_host(self, label: str) -> Host:
        """One more, joined to nothing."""
        host = Host(label, self.folder)
        self._stack.callback(host.close)
        return host

    @staticmethod
    def _join(one: Host, other: Host, subnet: str) -> None:
        peer = ("peer", "name", f"to-{one.label}", "netns", other.name)
        one.ip("link", "add", f"to-{other.label}", "type", "veth", *peer)
        for number, (here, there) in enumerate(((one, other), (other, one)), 1):
            here.addresses[there.label] = f"{subnet}.{number}"
            here.give(f"to-{there.label}", f"{subnet}.{number}", 1500)


@contextlib.contextmanager
def laboratory() -> Iterator[Lab]:
    """A lab that is gone afterwards, whatever happens."""
    sweep()
    with contextlib.ExitStack() as stack:
        prefix = f"{PREFIX}{os.getpid()}-"
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
        yield Lab(Path(folder), stack)


def unique(label: str) -> str:
    """A name that no other run uses: devices and nodes have their sockets in one place for all.

    Starts with a letter behind our process id, so that :func:`sweep` knows whose it is.
    """
    assert label[0].isalpha(), label
    name = f"{PREFIX}{os.getpid()}{label}"
    assert len(name) <= 15, name
    return name


def sweep() -> None:
    """Remove what a run left that was killed. Its processes went with it."""
    places = (Path("/run/netns"), Path(tempfile.gettempdir()), UAPI_SOCKETS, NODES)
    for path in itertools.chain(*(place.glob(f"{PREFIX}*") for place in places)):
        owner = re.match(rf"{PREFIX}(\d+)", path.name)
        if owner is None or Path(f"/proc/{owner[1]}").exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        elif path.parent == Path("/run/netns"):
            run("ip", "netns", "del", path.name)
        else:
            path.unlink()

"""A guest as a place of the lab: commands run in it as they do in a namespace.

:func:`stand_in` puts one on the wire in the stead of a host of the lab. A guest that is made with
``taps`` is wired by whoever made the TAPs.
"""

from __future__ import annotations

import io
import itertools
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from interop.kernel import qemu
from interop.kernel.channel import Channel, Job
from interop.kernel.image import image
from interop.kernel.process import GuestProcess
from tests.netns.lab import Completed, Lab, Namespace, Place, eventually

# Two to six seconds on an idle machine.
BOOT_TIMEOUT = 120.0
FOLDER = Path("/lab")
ENVIRONMENT = {"PATH": "/bin", "HOME": str(FOLDER), "LC_ALL": "C"}
AGENT_SOCKET = "agent"
WRITE = 'umask 077; cat >"$1"; chmod "$2" "$1"'
ADD_NAMESPACE = 'mkdir "$2"; ip netns add "$1"; ip -netns "$1" link set lo up'

_numbers = itertools.count(1)


class GuestPlace(Place):
    """Somewhere in a guest: the guest itself, or a namespace in it."""

    def __init__(self, lab: Lab, folder: Path, channel: Channel, logs: Path) -> None:
        super().__init__(lab, folder)
        self.env = dict(ENVIRONMENT)
        self.logs = logs
        """The folder of the host that outputs of background commands are kept in."""
        self.channel = channel

    def run(
        self, *command: str, check: bool = True, timeout: float = 30, stdin: str | None = None
    ) -> Completed:
        """Run a command to its end.

        Bytes that are no UTF-8 go both ways as surrogates (PEP 383), line ends as they are.
        """
        out, err = io.BytesIO(), io.BytesIO()
        job = self._begin(command, out, err, stdin)
        if not self.channel.wait(job.done, timeout):
            self.channel.abandon(job)
            raise subprocess.TimeoutExpired(command, timeout, out.getvalue(), err.getvalue())
        assert job.returncode is not None
        stdout, stderr = (file.getvalue().decode(errors="surrogateescape") for file in (out, err))
        if check and job.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {job.returncode}\n{stdout}{stderr}")
        return Completed(command, job.returncode, stdout, stderr)

    def start(self, *command: str, log: str) -> GuestProcess:
        """Start a command in the background; it ends with the test."""
        logs = self.logs / f"{log}-guest-{next(_numbers)}"
        paths = logs.with_suffix(".out"), logs.with_suffix(".err")
        out, err = (path.open("wb", buffering=0) for path in paths)
        job = self._begin(command, out, err, None)
        process = GuestProcess(" ".join(command), paths, job, self.channel)
        self.lab.processes.append(process)
        return process

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        self.run("sh", "-c", WRITE, "write", str(path), f"{mode:o}", stdin=text)
        return path

    def _begin(
        self, command: Sequence[str], out: BinaryIO, err: BinaryIO, stdin: str | None
    ) -> Job:
        return self.channel.run(
            self.wrap(*command),
            folder=self.folder,
            env=self.env,
            stdin=None if stdin is None else stdin.encode(errors="surrogateescape"),
            stdout=out,
            stderr=err,
        )


class Guest(GuestPlace):
    """A virtual machine, which boots at once: :meth:`ready` waits until it has.

    QEMU runs in ``home`` and takes its TAPs from there: ``taps[n]`` is the other end of the guest's
    ethN, and behind them come ``sockets``, each a -netdev. What the guest says on its console is
    QEMU's standard output. PDEATHSIG ends a guest with the very thread that has made it.
    """

    def __init__(
        self,
        home: Place,
        label: str = "guest",
        *,
        taps: Sequence[str] = (),
        sockets: Sequence[str] = (),
        memory: int = qemu.MEMORY,
    ) -> None:
        # A relative name: a Unix socket's path must be short, and this is where QEMU runs.
        name = f"{label}-{next(_numbers)}.{AGENT_SOCKET}"
        self.process = home.start(
            *qemu.command(image(), taps, sockets=sockets, agent=name, memory=memory),
            log=f"{label}-console",
        )
        channel = eventually(lambda: self._connect(home.folder / name), "QEMU listens", 30)
        assert channel is not None
        home.lab.at_end.callback(channel.close)
        super().__init__(home.lab, FOLDER, channel, home.folder)

    def _connect(self, socket: Path) -> Channel | None:
        assert self.process.returncode() is None, f"ended early: {self.process}"
        try:
            return Channel(socket, epitaph=lambda: str(self.process))
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    @property
    def console(self) -> str:
        return self.process.stdout

    def wrap(self, *command: str) -> list[str]:
        return list(command)

    def ready(self) -> None:
        """Wait until commands can run; then the guest's clock is ours."""
        self.set_clock(time.time(), BOOT_TIMEOUT)
        # Again, as some seconds may have passed before the guest read that.
        self.set_clock(time.time())

    def set_clock(self, seconds: float, timeout: float = 10.0) -> None:
        """Set the guest's time of day, Unix seconds."""
        self.channel.set_clock(seconds, timeout)

    def namespace(self, name: str) -> GuestNamespace:
        """A new network namespace in the guest, joined to nothing."""
        return GuestNamespace(self, name)


class GuestNamespace(GuestPlace):
    """A network namespace inside a guest."""

    def __init__(self, guest: Guest, name: str) -> None:
        super().__init__(guest.lab, FOLDER / name, guest.channel, guest.logs)
        self.name = name
        guest.run("sh", "-e", "-c", ADD_NAMESPACE, "add", name, str(self.folder))

    def wrap(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]


def become_bridge(host: Namespace) -> str:
    """Make a host of the lab no more than a bridge from its eth0 to its interface "guest", which is
    there already. Returns the MTU of both.
    """
    (cable,) = host.ip_json("link", "show", "eth0")
    mtu = str(cable["mtu"])
    host.ip("address", "flush", "dev", "eth0")
    for scope in ("all", "default"):
        host.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
    host.ip("link", "add", "bridge", "type", "bridge")
    for port in ("eth0", "guest"):
        host.ip("link", "set", port, "mtu", mtu, "master", "bridge", "up")
    host.ip("link", "set", "bridge", "up")
    return mtu


def stand_in(host: Namespace, *, memory: int = qemu.MEMORY) -> Guest:
    """A guest in the place of a host that is on a LAN: with its eth0, its addresses and its MTU."""
    host.ip("tuntap", "add", "guest", "mode", "tap")
    mtu = become_bridge(host)
    guest = Guest(host, taps=["guest"], memory=memory)
    guest.ready()
    guest.ip("link", "set", "eth0", "mtu", mtu, "up")
    guest.ip("address", "add", f"{host.address(4)}/24", "dev", "eth0")
    guest.ip("address", "add", f"{host.address(6)}/64", "dev", "eth0", "nodad")
    return guest

"""A laboratory of network namespaces: hosts, cables and processes, all gone when the test ends.

Host n of a lab has 192.0.2.n and 2001:db8::n on ``eth0``. Everything is named after the process
that runs the tests, so two runs on one machine do not meet, and what a killed run left behind is
swept up by the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

PREFIX = "wgvxt"
RUN_NETNS = Path("/run/netns")
POLL_INTERVAL = 0.02
STOP_TIMEOUT = 10.0

T = TypeVar("T")
Completed = subprocess.CompletedProcess[str]

_libc = ctypes.CDLL(None, use_errno=True)
_names = itertools.count(1)


def unique_name(label: str) -> str:
    """A name for a node or an interface: 15 characters at most, and no other test's.

    Control sockets and UAPI sockets live in the file system, which all namespaces share.
    """
    name = f"{label}-{os.getpid():x}-{next(_names):x}"
    assert len(name) <= 15, name
    return name


def eventually(probe: Callable[[], T], what: str, timeout: float = 10.0) -> T:
    """The first true result of ``probe``, asked again and again for ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not so: {what} (last: {result!r})")
        time.sleep(POLL_INTERVAL)


class Process:
    """A process in the background, its two outputs kept in files."""

    def __init__(
        self, command: list[str], title: str, logs: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.title = title
        self.stdout_path = logs.with_suffix(".out")
        self.stderr_path = logs.with_suffix(".err")
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd
            )
        self.pid = self._popen.pid

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def returncode(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """The exit status; as in subprocess, -N where signal N ended it."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s: {self}") from None

    def send_signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self) -> None:
        """End it whatever state it is in: ask, then kill."""
        if self.returncode() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(3)
        if self.returncode() is None:
            self._popen.kill()
        self._popen.wait(STOP_TIMEOUT)

    def family(self) -> list[int]:
        """This process and all that descend from it."""
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for children in Path(f"/proc/{pid}/task").glob("*/children"):
                    found.extend(int(child) for child in children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """User and system time used so far, with all descendants."""
        ticks = 0
        for pid in self.family():
            # proc_pid_stat(5): after the name in brackets, utime and stime are fields 12 and 13.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def __str__(self) -> str:
        return f"{self.title}\n{self.stdout}{self.stderr}"


class Place:
    """Somewhere that commands run: a namespace, or the account of an ordinary user."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.env = {**os.environ, "LC_ALL": "C", "PYTHONWARNINGS": "default"}

    def wrap(self, *command: str) -> list[str]:
        """The command as it must be started from here."""
        raise NotImplementedError

    def run(
        self, *command: str, check: bool = True, timeout: float = 30, stdin: str | None = None
    ) -> Completed:
        """Run a command to its end."""
        done = subprocess.run(
            self.wrap(*command),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=self.env,
            cwd=self.folder,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def start(self, *command: str, log: str) -> Process:
        """Start a command in the background; it ends with the test, however that ends."""
        process = Process(
            # PDEATHSIG: nothing survives even a test run that is killed.
            self.wrap("setpriv", "--pdeathsig", "KILL", *command),
            " ".join(command),
            self.folder / f"{log}-{next(_names)}",
            self.env,
            self.folder,
        )
        self.lab.processes.append(process)
        return process

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file that commands here can read."""
        path = self.folder / name
        path.touch(mode)
        path.write_text(text)
        path.chmod(mode)
        return path

    def ip(self, *args: str) -> None:
        self.run("ip", *args)

    def ip_json(self, *args: str) -> list[dict[str, Any]]:
        """What ``ip -json`` prints."""
        return [row for row in json.loads(self.run("ip", "-json", *args).stdout or "[]") if row]

    def links(self) -> set[str]:
        """The names of all interfaces."""
        return {row["ifname"] for row in self.ip_json("link", "show")}


class Namespace(Place):
    """A named network namespace: one host of the lab."""

    def __init__(self, lab: Lab, label: str, index: int) -> None:
        super().__init__(lab, lab.folder / f"{index}-{label}")
        self.folder.mkdir()
        self.name = f"{PREFIX}{os.getpid()}-{next(_names)}{label}"
        self.index = index

    def create(self) -> None:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        # Addresses are usable at once: duplicate address detection would cost a second each.
        for scope in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{scope}/accept_dad", "0")
        self.ip("link", "set", "lo", "up")

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def wrap(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def sysctl(self, key: str, value: str) -> None:
        with self.entered():
            Path("/proc/sys", key).write_text(value)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside; a socket opened here stays here."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(RUN_NETNS / self.name, os.O_RDONLY)
        try:
            _setns(inside)
            yield
        finally:
            _setns(home)
            os.close(inside)
            os.close(home)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        with self.entered():
            return socket.socket(family, kind, protocol)

    def address(self, family: int) -> str:
        """The underlay address of this host."""
        return f"192.0.2.{self.index}" if family == 4 else f"2001:db8::{self.index:x}"


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Lab:
    """Hosts and what runs on them, for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[Process] = []
        self.at_end = contextlib.ExitStack()
        """What else to undo, after the last process has ended."""
        self.hosts: list[Namespace] = []

    def host(self, label: str) -> Namespace:
        """A new host, joined to nothing."""
        namespace = Namespace(self, label, len(self.hosts) + 1)
        self.hosts.append(namespace)
        namespace.create()
        return namespace

    def lan(self, *hosts: Namespace, mtu: int = 1500) -> None:
        """Join hosts by one Ethernet: a cable between two, a switch between more."""
        if len(hosts) == 2:
            a, b = hosts
            a.ip("link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", b.name)
        else:
            switch = self.host("switch")
            switch.ip("link", "add", "br0", "type", "bridge")
            switch.ip("link", "set", "br0", "mtu", str(mtu), "up")
            for host in hosts:
                port = f"port{host.index}"
                host.ip("link", "add", "eth0", "type", "veth", "peer", port, "netns", switch.name)
                switch.ip("link", "set", port, "mtu", str(mtu), "master", "br0", "up")
        for host in hosts:
            host.ip("link", "set", "eth0", "mtu", str(mtu), "up")
            host.ip("address", "add", f"{host.address(4)}/24", "dev", "eth0")
            host.ip("address", "add", f"{host.address(6)}/64", "dev", "eth0", "nodad")

    def close(self) -> None:
        """End every process, newest first, then remove the namespaces."""
        while self.processes:
            process = self.processes.pop()
            process.end()
            print(f"--- {process}")  # pytest shows it where the test failed
        while self.hosts:
            self.hosts.pop().delete()
        self.at_end.close()


def sweep() -> None:
    """Remove the namespaces of test runs that were killed."""
    for path in RUN_NETNS.glob(f"{PREFIX}*"):
        owner = re.match(rf"{PREFIX}(\d+)-", path.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            subprocess.run(["ip", "netns", "del", path.name], check=False)

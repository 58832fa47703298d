"""What every contender is: a way from host a to host b."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from functools import partial
from typing import NamedTuple

from benchmarks.compare.lab import Host, Lab
from benchmarks.compare.obtain import Missing
from benchmarks.compare.processes import GRACE, Process, wait_for

IPERF_PORT = 5201
"""Its default."""
TUNNEL_MTU = 1420
"""Of what carries IP alone: WireGuard's own over an IPv6 underlay, the usual setting."""
OVERLAY_MTU = 1350
"""Of everything that carries Ethernet, so that all of them move the same packets."""


class Victim(NamedTuple):
    """Where forged handshakes can be sent."""

    address: str
    port: int
    public_key: bytes


class Contender(ABC):
    """One way from a to b. ``number`` keeps its addresses, ports and names apart from others'."""

    name: str
    """On the command line and in the JSON."""
    title: str
    """In tables and plots."""
    mtu = OVERLAY_MTU

    def __init__(self, lab: Lab, number: int) -> None:
        self.lab = lab
        self.number = number
        self.daemons: list[Process] = []
        """Those that carry the packets."""
        self.helpers: list[Process] = []
        """Others that it needs."""

    @property
    def ends(self) -> tuple[Host, Host]:
        return self.lab.a, self.lab.b

    @property
    def pairs(self) -> tuple[tuple[Host, Host], tuple[Host, Host]]:
        """Each end with the other one."""
        a, b = self.ends
        return (a, b), (b, a)

    def device(self, host: Host) -> str:  # noqa: ARG002 - some have another one at each end
        """The interface that has the address."""
        return f"c{self.number}"

    @property
    def port(self) -> int:
        """A UDP or TCP port of its own."""
        return 52000 + self.number

    def address(self, host: Host) -> str:
        """In its own subnet: a has .1, b has .2."""
        return f"10.{self.number}.0.{self.ends.index(host) + 1}"

    def towards(self, host: Host) -> tuple[str, int]:
        """Where the other end's iperf3 finds the one of this host: address and port."""
        return self.address(host), IPERF_PORT

    def client(self, *command: str) -> Process:
        """Start a program at a, which goes through the contender."""
        return self.lab.a.start(*command)

    def victim(self) -> Victim | None:
        """Where b takes WireGuard handshakes; None where it is no WireGuard."""
        return None

    @abstractmethod
    def prepare(self) -> str:
        """Find or build it; its version. Raises Missing."""

    @abstractmethod
    def start(self) -> None:
        """Bring it up at both ends."""

    def run_daemon(self, host: Host, *command: str) -> None:
        """Start one that carries the packets, and makes the interface at this end."""
        daemon = host.start(*command)
        self.daemons.append(daemon)
        device = self.device(host)
        wait_for(partial(host.has_device, device), f"{self.name} makes its interface", daemon)

    def bring_up(self) -> None:
        """Start it, and see a ping go through. Raises Missing where it does not come up."""
        try:
            self.start()
            wait_for(self.answers, f"{self.name} carries nothing", *self.daemons)
        except Missing:
            self.stop()
            raise
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise Missing(f"does not come up: {last_lines(str(error))}", "none known") from error

    def answers(self) -> bool:
        """Whether packets go through. The first ones make the handshake and teach the addresses."""
        ping = self.client("ping", "-n", "-c", "1", "-W", "1", self.address(self.lab.b))
        ping.wait(GRACE)
        return " 1 received" in ping.output

    def stop(self) -> None:
        for daemon in (*self.helpers, *self.daemons):
            daemon.end()

    def cpu_seconds(self) -> float:
        return sum(daemon.cpu_seconds() for daemon in self.daemons)

    def resident_bytes(self) -> int:
        """Of a node: the larger end."""
        return max((daemon.resident_bytes() for daemon in self.daemons), default=0)


def last_lines(text: str, count: int = 3) -> str:
    """The end of a log, in one line."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " / ".join([*lines[:1], *lines[1:][-count:]])

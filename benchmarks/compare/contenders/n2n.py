"""n2n: two edges, and a supernode at b that brings them together."""

from __future__ import annotations

from benchmarks.compare.contenders.base import OVERLAY_MTU, Contender
from benchmarks.compare.obtain import debian, debian_version


class N2n(Contender):
    """edge at both ends."""

    name = "n2n"
    title = "n2n"

    def prepare(self) -> str:
        self.program = debian("edge", "n2n")
        self.supernode = debian("supernode", "n2n")
        return debian_version("n2n")

    def start(self) -> None:
        a, b = self.ends
        self.daemons.append(b.start(self.supernode, "-l", str(self.port)))
        meeting = f"{b.addresses[a.label]}:{self.port}"
        for host in self.ends:
            self.run_daemon(
                host,
                *(self.program, "-d", self.device(host), "-a", self.address(host)),
                *("-s", "255.255.255.0", "-M", str(OVERLAY_MTU)),
                *("-c", "compare", "-k", "compare", "-l", meeting),
            )

"""tinc in switch mode, with its own defaults for everything else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.compare.contenders.base import OVERLAY_MTU, Contender
from benchmarks.compare.lab import Host
from benchmarks.compare.obtain import debian, debian_version
from benchmarks.compare.processes import run


class Tinc(Contender):
    """tincd at both ends."""

    name = "tinc"
    title = "tinc (switch)"

    def prepare(self) -> str:
        self.program = debian("tincd", "tinc")
        return debian_version("tinc")

    def start(self) -> None:
        folders = {host.label: self._write(host, other) for host, other in self.pairs}
        for host, other in self.pairs:
            public = (folders[host.label] / "hosts" / host.label).read_text()
            (folders[other.label] / "hosts" / host.label).write_text(public)
        for host in self.ends:
            folder = folders[host.label]
            pidfile = f"--pidfile={folder / 'pid'}"
            self.run_daemon(host, self.program, "-c", str(folder), "-D", pidfile)
            host.give(self.device(host), self.address(host), OVERLAY_MTU)

    def _write(self, host: Host, other: Host) -> Path:
        """A folder of configuration with a new key."""
        folder = self.lab.folder / f"tinc-{host.label}"
        (folder / "hosts").mkdir(parents=True)
        (folder / "tinc.conf").write_text(
            f"""Name = {host.label}
Mode = switch
AddressFamily = ipv4
Interface = {self.device(host)}
Port = {self.port}
ConnectTo = {other.label}
"""
        )
        place = f"Address = {host.addresses[other.label]}\nPort = {self.port}\n"
        (folder / "hosts" / host.label).write_text(place)
        run(self.program, "-c", str(folder), "-K2048", stdin="\n\n")
        return folder

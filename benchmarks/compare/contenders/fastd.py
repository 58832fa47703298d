"""fastd with a TAP and its fastest method, salsa2012+umac."""

from __future__ import annotations

import re

from benchmarks.compare.contenders.base import OVERLAY_MTU, Contender
from benchmarks.compare.obtain import debian, debian_version
from benchmarks.compare.processes import run


class Fastd(Contender):
    """fastd at both ends."""

    name = "fastd"
    title = "fastd (salsa2012+umac)"

    def prepare(self) -> str:
        self.program = debian("fastd", "fastd")
        return debian_version("fastd")

    def start(self) -> None:
        keys = {host.label: self._new_key() for host in self.ends}
        for host, other in self.pairs:
            device = self.device(host)
            file = self.lab.folder / f"fastd-{host.label}.conf"
            file.touch(0o600)
            file.write_text(
                f"""mode tap;
method "salsa2012+umac";
interface "{device}";
mtu {OVERLAY_MTU};
bind any:{self.port};
secret "{keys[host.label][0]}";
peer "{other.label}" {{
  key "{keys[other.label][1]}";
  remote {other.addresses[host.label]}:{self.port};
}}
"""
            )
            self.run_daemon(host, self.program, "--config", str(file))
            host.give(device, self.address(host), OVERLAY_MTU)

    def _new_key(self) -> tuple[str, str]:
        """Secret and public, each 64 hexadecimal digits."""
        secret, public = re.findall(r"\b[0-9a-f]{64}\b", run(self.program, "--generate-key"))
        return secret, public

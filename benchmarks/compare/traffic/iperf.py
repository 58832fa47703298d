"""TCP streams between the ends of a contender, by iperf3."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.processes import GRACE, wait_for

CONGESTION = "cubic"
"""Whatever the host's default is: a comparison wants the same everywhere, and most have this."""


class Iperf:
    """A server at b for one test, and its client at a, which is under way from now on."""

    def __init__(self, contender: Contender, seconds: float, *options: str) -> None:
        _, b = contender.ends
        server = ("iperf3", "--server", "--one-off", "--bind", contender.address(b))
        self._server = b.start(*server)
        wait_for(lambda: _listens(self._server.pid), "iperf3 listens", self._server)
        self._timeout = seconds + GRACE
        address, port = contender.towards(b)
        self._client = contender.client(
            *("iperf3", "--client", address, "--port", str(port), "--congestion", CONGESTION),
            *("--time", f"{seconds:g}", "--json", *options),
        )

    def result(self) -> dict[str, Any]:
        """What the client reports at its end, or, where it gave up, nothing."""
        self._client.wait(self._timeout)
        for process in (self._client, self._server):
            process.end()
        try:
            end: dict[str, Any] = json.loads(self._client.output).get("end", {})
        except ValueError:
            end = {}
        return end


def _listens(pid: int) -> bool:
    """Whether somebody listens on iperf3's port in the namespace of this process."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                # proc(5): local address and port in hexadecimal; state 0A is LISTEN.
                if fields[1].endswith(":1451") and fields[3] == "0A":
                    return True
    return False

"""UDP: the highest rate with under 1 % loss."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.lab import Host
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.measures.search import Trial, highest
from benchmarks.compare.processes import GRACE, Process, wait_for
from benchmarks.compare.traffic import datagrams

PORT = 5555
PROBE = 0.3
"""Seconds of all that the sender can send: where the search begins."""


def small(contender: Contender, seconds: float) -> Metrics:
    return _highest_rate(contender, seconds, 64)


def large(contender: Contender, seconds: float) -> Metrics:
    return _highest_rate(contender, seconds, 1200)


def _highest_rate(contender: Contender, seconds: float, size: int) -> Metrics:
    probe = _try(contender, PROBE, size, None)
    best: float | None = probe.arrived
    if not probe.lossless:
        length = max(0.4, seconds / 4)
        # Overload may let through much less than what could be carried, but hardly ever more.
        guess = max(probe.arrived, 1000.0)
        best = highest(lambda rate: _try(contender, length, size, rate), guess)
    return {f"udp{size}_kpps": best / 1e3 if best else None}


def _try(contender: Contender, seconds: float, size: int, rate: float | None) -> Trial:
    a, b = contender.ends
    place = (contender.address(b), str(PORT))
    counter = run_datagrams(b, "count", *place, "--seconds", f"{seconds + 3:g}")
    wait_for(partial(_is_ready, counter), "the receiver listens", counter)
    pace = () if rate is None else ("--rate", f"{rate:.0f}")
    options = ("--seconds", f"{seconds:g}", "--size", str(size), *pace)
    sent = outcome(run_datagrams(a, "send", *place, *options), seconds)
    arrived = outcome(counter, seconds + 3)
    took = sent["seconds"]
    return Trial(rate or sent["sent"] / took, sent["sent"] / took, arrived["arrived"] / took)


def run_datagrams(host: Host, *args: str) -> Process:
    """Start traffic/datagrams.py; -S and -E, so that it is there at once."""
    return host.start(sys.executable, "-S", "-E", str(Path(datagrams.__file__)), *args)


def outcome(program: Process, seconds: float) -> dict[str, Any]:
    """What it says at its end."""
    in_time = program.wait(seconds + GRACE)
    program.end()
    if not in_time:
        raise RuntimeError("datagrams.py did not come to its end: it was held up in sending")
    last = program.output.strip().rpartition("\n")[2]
    try:
        said: dict[str, Any] = json.loads(last)
    except ValueError:
        raise RuntimeError(f"datagrams.py said: {program.output.strip()}") from None
    return said


def _is_ready(counter: Process) -> bool:
    return counter.output.startswith("ready")

"""An established TCP flow while somebody sends forged handshake initiations."""

from __future__ import annotations

import time

from benchmarks.compare.contenders.base import Contender, Victim
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.measures.udp import outcome, run_datagrams
from benchmarks.compare.processes import Process
from benchmarks.compare.traffic import forged
from benchmarks.compare.traffic.iperf import Iperf

RATE = 100_000
"""Initiations a second."""
KINDS = 4096
"""Different ones."""
SETTLE = 1.0
"""Seconds for TCP to find its rate, and for a node to forget that it was under load."""


def flood(contender: Contender, seconds: float) -> Metrics:
    """One flow all the time: first alone, then with mac1 wrong, then with mac1 right."""
    victim = contender.victim()
    if victim is None:
        return {}
    load = Iperf(contender, 3 * seconds + 5 * SETTLE)
    time.sleep(SETTLE)
    alone = _rate(contender, seconds)
    metrics: Metrics = {"flood_none_mbit": alone}
    for kind in ("wrong", "right"):
        sender = _send(contender, victim, seconds + SETTLE, right=kind == "right")
        time.sleep(SETTLE / 2)
        rate = _rate(contender, seconds)
        done = outcome(sender, SETTLE)
        metrics[f"flood_{kind}_mbit"] = rate
        metrics[f"flood_{kind}_share"] = rate / alone if alone else None
        metrics[f"flood_{kind}_kpps"] = done["sent"] / done["seconds"] / 1e3
        time.sleep(SETTLE)
    load.result()
    return metrics


def _rate(contender: Contender, seconds: float) -> float:
    """Mbit/s that reach b, seen at its interface: frames, headers included."""
    _, b = contender.ends
    device = contender.device(b)
    before, begin = b.received_bytes(device), time.monotonic()
    time.sleep(seconds)
    after, end = b.received_bytes(device), time.monotonic()
    return (after - before) * 8 / (end - begin) / 1e6


def _send(contender: Contender, victim: Victim, seconds: float, *, right: bool) -> Process:
    file = contender.lab.folder / "forged"
    file.write_bytes(
        b"".join(forged.initiation(victim.public_key, right=right) for _ in range(KINDS))
    )
    return run_datagrams(
        contender.lab.crowd,
        *("send", victim.address, str(victim.port), "--seconds", f"{seconds:g}"),
        *("--rate", str(RATE), "--messages", str(file), "--length", str(forged.LENGTH)),
    )

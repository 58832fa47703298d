"""Round trips, idle and behind a TCP stream."""

from __future__ import annotations

import re
import statistics
import subprocess
import time

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.processes import GRACE
from benchmarks.compare.traffic.iperf import Iperf

INTERVAL = 0.01
WARM_UP = 1.0


def idle(contender: Contender, seconds: float) -> Metrics:
    return _ping(contender, seconds, "ping")


def loaded(contender: Contender, seconds: float) -> Metrics:
    """The stream starts before the pings and outlasts them; its throughput comes along."""
    load = Iperf(contender, seconds + 2 * WARM_UP)
    time.sleep(WARM_UP)
    metrics = _ping(contender, seconds, "ping_loaded")
    received = load.result().get("sum_received", {})
    rate = received.get("bits_per_second")
    return {**metrics, "loaded_tcp_mbit": rate / 1e6 if rate else None}


def _ping(contender: Contender, seconds: float, prefix: str) -> Metrics:
    """100 a second, each of 56 bytes."""
    a, b = contender.ends
    count = max(20, int(seconds / INTERVAL))
    options = ("-n", "-i", str(INTERVAL), "-W", "1", "-c", str(count))
    done = subprocess.run(
        a.inside("ping", *options, contender.address(b)),
        capture_output=True,
        text=True,
        timeout=seconds + GRACE,
        check=False,
    )
    times = sorted(float(t) * 1e3 for t in re.findall(r"time=([\d.]+) ms", done.stdout))
    enough = len(times) >= count // 2
    return {
        f"{prefix}_us": statistics.median(times) if enough else None,
        f"{prefix}_p99_us": times[min(len(times) - 1, len(times) * 99 // 100)] if enough else None,
    }

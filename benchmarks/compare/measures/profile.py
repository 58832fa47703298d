"""Where the daemons' CPU time goes during one TCP stream: AEAD, kernel, or their own code."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.processes import GRACE, run
from benchmarks.compare.traffic.iperf import Iperf

FREQUENCY = 499
"""Samples a second: a prime, in step with nothing."""
WARM_UP = 0.5
AEAD_LIBRARY = re.compile(r"libcrypto|libIPSec_MB|libsodium|_rust\.abi3", re.IGNORECASE)
AEAD_FUNCTION = re.compile(r"chacha|poly1305|salsa|umac|uhash|aes|xor", re.IGNORECASE)
"""In programs that hold their own: wireguard-go, boringtun, fastd."""
OURS = "_native"
"""Holds none: what is called so in there is a wrapper, and wgvx's own code."""


def profile(contender: Contender, seconds: float) -> Metrics:
    """In percent of the samples that hit a daemon."""
    pids = [str(pid) for daemon in contender.daemons for pid in daemon.family()]
    if not pids:
        return {}
    load = Iperf(contender, seconds + 2 * WARM_UP)
    time.sleep(WARM_UP)
    file = str(contender.lab.folder / "perf.data")
    record = ("perf", "record", "--event", "cpu-clock", "--freq", str(FREQUENCY))
    output = ("--output", file, "--pid", ",".join(pids), "--", "sleep", f"{seconds:g}")
    try:
        run(*record, *output, timeout=seconds + GRACE)
    finally:
        load.result()
    report = ("perf", "report", "--input", file, "--stdio", "--no-children")
    columns = ("--sort", "dso,symbol", "--fields", "sample,dso,symbol", "--field-separator", ";")
    return shares(run(*report, *columns, timeout=10 * GRACE).splitlines())


def shares(rows: Iterable[str]) -> Metrics:
    """Out of perf's rows: samples; object; [k] or [.] and symbol."""
    samples = {"aead": 0, "kernel": 0, "other": 0}
    for row in rows:
        fields = [field.strip() for field in row.split(";")]
        if row.startswith("#") or len(fields) < 3 or not fields[0].isdigit():
            continue
        samples[_kind(fields[1], fields[2])] += int(fields[0])
    total = sum(samples.values())
    return {
        f"cpu_{kind}_percent": 100 * count / total if total else None
        for kind, count in samples.items()
    }


def _kind(library: str, symbol: str) -> str:
    if symbol.startswith("[k]"):
        return "kernel"
    if OURS in library:
        return "other"
    aead = AEAD_LIBRARY.search(library) or AEAD_FUNCTION.search(symbol)
    return "aead" if aead else "other"

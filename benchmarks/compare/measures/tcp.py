"""TCP through a contender, both ways, and what it costs its daemons."""

from __future__ import annotations

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.traffic.iperf import Iperf


def one_way(contender: Contender, seconds: float, prefix: str, *options: str) -> Metrics:
    before = contender.cpu_seconds()
    end = Iperf(contender, seconds, *options).result()
    used = contender.cpu_seconds() - before
    received = end.get("sum_received", {})
    payload = received.get("bytes", 0)
    return {
        f"{prefix}_mbit": received["bits_per_second"] / 1e6 if payload else None,
        f"{prefix}_cpu_s_per_gb": used / (payload / 1e9) if payload and used else None,
    }


def one_stream(contender: Contender, seconds: float) -> Metrics:
    return {
        **one_way(contender, seconds, "tcp"),
        **one_way(contender, seconds, "tcp_reverse", "--reverse"),
    }


def four_streams(contender: Contender, seconds: float) -> Metrics:
    return {
        **one_way(contender, seconds, "tcp4", "--parallel", "4"),
        **one_way(contender, seconds, "tcp4_reverse", "--parallel", "4", "--reverse"),
    }


def through_hub(contender: Contender, seconds: float) -> Metrics:
    return one_way(contender, seconds, "hub_tcp")


def through_port(contender: Contender, seconds: float) -> Metrics:
    return {
        **one_way(contender, seconds, "port_tcp"),
        **one_way(contender, seconds, "port_tcp_reverse", "--reverse"),
    }

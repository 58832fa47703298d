"""All measures, in the order of a round."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.measures import flood, memory, ping, profile, tcp, udp
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.obtain import debian


class Group(Enum):
    """Of whom a measure is taken: everyone between a and b, those around a hub, or ports."""

    PAIRS = ""
    HUBS = " around a hub"
    PORTS = " as a port"


class Measure(NamedTuple):
    """``take`` is one turn of one contender."""

    take: Callable[[Contender, float], Metrics]
    of: Group = Group.PAIRS
    tools: tuple[tuple[str, str], ...] = (("iperf3", "iperf3"),)
    """Command and Debian package."""


PING = ("ping", "iputils-ping")
IPERF = ("iperf3", "iperf3")

MEASURES: dict[str, Measure] = {
    "ping": Measure(ping.idle, tools=(PING,)),
    "tcp": Measure(tcp.one_stream),
    "tcp4": Measure(tcp.four_streams),
    "loaded": Measure(ping.loaded, tools=(IPERF, PING)),
    "udp64": Measure(udp.small, tools=()),
    "udp1200": Measure(udp.large, tools=()),
    "hub": Measure(tcp.through_hub, Group.HUBS),
    "ports": Measure(tcp.through_port, Group.PORTS),
    "flood": Measure(flood.flood),
    "profile": Measure(profile.profile, tools=(IPERF, ("perf", "linux-perf"))),
    "memory": Measure(memory.resident),
}


def need_tools(measure: Measure) -> None:
    """Find or install them; raises Missing."""
    for command, package in measure.tools:
        debian(command, package)

"""What wgvx is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.compare.contenders.catalogue import (
    IPSEC_MB,
    LAYER_3,
    OPENSSL,
    OTHER_LAYER_2,
    REFERENCE,
)
from benchmarks.compare.summary import Block, best_ratio, counting, median


class Target(NamedTuple):
    """A median over the rounds: of the ratio to the best of ``against``, or of the figure."""

    what: str
    metric: str
    ipsec_mb: float
    openssl: float
    against: tuple[str, ...] = (REFERENCE,)
    at_most: bool = False

    def reached(self, blocks: Sequence[Block], name: str) -> float | None:
        """By a contender; None where it was not measured."""
        if not self.against:
            return median(block.value(name, self.metric) for block in counting(blocks))
        return median(
            best_ratio(block, name, self.metric, self.against) for block in counting(blocks)
        )

    def goal(self, name: str) -> float:
        return {IPSEC_MB: self.ipsec_mb, OPENSSL: self.openssl}[name]

    def met(self, name: str, reached: float) -> bool:
        goal = self.goal(name)
        return reached <= goal if self.at_most else reached >= goal


TARGETS = (
    Target("TCP, one stream, against the reference", "tcp_mbit", 10, 8),
    Target("TCP, four streams, against the reference", "tcp4_mbit", 11, 8),
    Target("one stream against wireguard-go alone (Layer 3)", "tcp_mbit", 2, 1.5, (LAYER_3,)),
    Target("one stream against the best other Layer-2 peer", "tcp_mbit", 8, 6, OTHER_LAYER_2),
    Target("UDP 64 bytes under 1 % loss, against the reference", "udp64_kpps", 4, 3.5),
    Target("one stream through a hub, against the reference's", "hub_tcp_mbit", 4, 3),
    Target("a flow under forged initiations, mac1 wrong", "flood_wrong_share", 0.5, 0.5, ()),
    Target("a flow under forged initiations, mac1 right", "flood_right_share", 0.5, 0.5, ()),
    Target("CPU s per GB, against the reference", "tcp_cpu_s_per_gb", 1 / 11, 1 / 8, at_most=True),
    Target("ping, idle, against the reference", "ping_us", 0.6, 0.6, at_most=True),
    Target("ping under TCP, against the reference", "ping_loaded_us", 1 / 6, 1 / 6, at_most=True),
    Target("the TCP above that ping, against the reference", "loaded_tcp_mbit", 10, 8),
    Target("CPU neither AEAD nor kernel, %", "cpu_other_percent", 15, 15, (), at_most=True),
    Target("resident with 10 peers, MiB", "resident_10_peers_mib", 60, 60, (), at_most=True),
)


def verdicts(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """A row for each target and AEAD library."""
    rows = []
    for target in TARGETS:
        for name in (IPSEC_MB, OPENSSL):
            reached = target.reached(blocks, name)
            rows.append(
                {
                    "what": target.what,
                    "contender": name,
                    "target": target.goal(name),
                    "at_most": target.at_most,
                    "reached": reached,
                    "met": None if reached is None else target.met(name, reached),
                }
            )
    return rows

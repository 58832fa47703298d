"""Interleaved rounds: in each, every measure is taken of everyone, one right after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.measures.catalogue import MEASURES
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.measures.tcp import one_way
from benchmarks.compare.obtain import Missing, say
from benchmarks.compare.summary import Block, mark_quiet

GAUGE_SECONDS = 1.0


class Rounds:
    """``turns`` are the contenders of each measure; ``keep`` is called behind each block."""

    def __init__(
        self,
        raw: Contender,
        turns: Mapping[str, Sequence[Contender]],
        rounds: int,
        seconds: float,
        keep: Callable[[], None],
    ) -> None:
        self._raw = raw
        self._keep = keep
        self._turns = turns
        self._rounds = rounds
        self._seconds = seconds
        self.blocks: list[Block] = []

    def run(self) -> None:
        """All rounds, and again what was measured while the machine was not quiet."""
        for number in range(self._rounds):
            say(f"round {number + 1} of {self._rounds}")
            for measure in self._turns:
                self._take(measure)
        # Each measure gets at most as many blocks more as it was to have.
        for _ in range(self._rounds):
            mark_quiet(self.blocks)
            lacking = [measure for measure in self._turns if self._quiet(measure) < self._rounds]
            if not lacking:
                break
            say(f"once again, the machine was not quiet: {', '.join(lacking)}")
            for measure in lacking:
                self._take(measure)
        mark_quiet(self.blocks)

    def _quiet(self, measure: str) -> int:
        return sum(block.quiet for block in self.blocks if block.measure == measure)

    def _take(self, measure: str) -> None:
        """One block: everyone's turn, each time another one begins."""
        contenders = list(self._turns[measure])
        first = sum(block.measure == measure for block in self.blocks) % len(contenders)
        before = self._gauge()
        figures = {
            contender.name: self._turn(measure, contender)
            for contender in contenders[first:] + contenders[:first]
        }
        gauge = (before + self._gauge()) / 2
        self.blocks.append(Block(measure, gauge, figures))
        mark_quiet(self.blocks)
        self._keep()
        say(f"{measure}: raw veth {gauge:.0f} Mbit/s; {_brief(figures)}")

    def _gauge(self) -> float:
        return one_way(self._raw, GAUGE_SECONDS, "tcp")["tcp_mbit"] or 0.0

    def _turn(self, measure: str, contender: Contender) -> Metrics:
        try:
            for daemon in contender.daemons:
                daemon.check()
            return MEASURES[measure].take(contender, self._seconds)
        except (Missing, RuntimeError, OSError, subprocess.SubprocessError) as error:
            say(f"{measure} of {contender.name} failed: {error}")
            return {}


def _brief(figures: dict[str, Metrics]) -> str:
    """The first figure of each."""
    firsts = {name: next(iter(metrics.values()), None) for name, metrics in figures.items()}
    return ", ".join(f"{name} {first:.4g}" for name, first in firsts.items() if first is not None)

"""What is made of rounds: which of them count, medians, ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.compare.measures.metrics import METRICS, Metrics

TOLERANCE = 0.1
"""How far the bare cable may be off its median while the machine counts as quiet."""


@dataclass
class Block:
    """One measure, taken once of every contender in turn: within it ratios are taken."""

    measure: str
    gauge: float
    """Mbit/s of the bare cable around it: what the machine had to give."""
    figures: dict[str, Metrics] = field(default_factory=dict)
    quiet: bool = True

    def value(self, name: str, metric: str) -> float | None:
        return self.figures.get(name, {}).get(metric)


def mark_quiet(blocks: Sequence[Block], tolerance: float = TOLERANCE) -> None:
    """Say of each whether it was measured on a quiet machine."""
    if not blocks:
        return
    middle = statistics.median(block.gauge for block in blocks)
    for block in blocks:
        block.quiet = abs(block.gauge - middle) <= tolerance * middle


def counting(blocks: Iterable[Block]) -> list[Block]:
    """The quiet ones; of a measure that has none, all: better such figures than none."""
    blocks = list(blocks)
    calm = {block.measure for block in blocks if block.quiet}
    return [block for block in blocks if block.quiet or block.measure not in calm]


def best_ratio(block: Block, name: str, metric: str, against: Iterable[str]) -> float | None:
    """To the best of some others, within one block."""
    value = block.value(name, metric)
    others = [other for one in against if (other := block.value(one, metric))]
    if value is None or not others:
        return None
    return value / (max(others) if METRICS[metric].more_is_better else min(others))


def median(figures: Iterable[float | None]) -> float | None:
    """Of those that could be had."""
    known = [figure for figure in figures if figure is not None]
    return statistics.median(known) if known else None


def medians(blocks: Iterable[Block]) -> dict[str, Metrics]:
    """Per contender and metric, over the blocks that count."""
    return _over_blocks(blocks, None)


def ratios(blocks: Iterable[Block], base: str) -> dict[str, Metrics]:
    """The same of the ratios to one contender, each taken within a block."""
    return _over_blocks(blocks, base)


def _over_blocks(blocks: Iterable[Block], base: str | None) -> dict[str, Metrics]:
    blocks = counting(blocks)
    names = dict.fromkeys(name for block in blocks for name in block.figures)
    result: dict[str, Metrics] = {}
    for name in names:
        result[name] = {}
        for metric in METRICS:
            figure = median(
                block.value(name, metric)
                if base is None
                else best_ratio(block, name, metric, [base])
                for block in blocks
            )
            if figure is not None:
                result[name][metric] = figure
    return result

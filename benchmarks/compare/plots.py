"""A report as SVG plots: one per question, bars from the best to the least.

wgvx has its own colour, the reference a darker grey than the rest. What encrypts nothing is told
apart by hatching: it is a bound, not a rival.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compare.contenders.catalogue import RAW, REFERENCE
from benchmarks.compare.contenders.clear import ClearVxlan
from benchmarks.compare.obtain import say

IN_CLEAR = {RAW, ClearVxlan.name}
INK, FAINT = "#24292f", "#8c959f"
OURS = ("#0969da", "#54aeff")
REFERENCES = ("#57606a", "#8c959f")
REST = ("#afb8c1", "#d8dee4")
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "svg.fonttype": "none",
    # The same report gives the same file.
    "svg.hashsalt": "wgvx",
    "hatch.linewidth": 0.6,
}


class Series(NamedTuple):
    """One bar of each contender's."""

    metric: str
    label: str
    scale: float = 1.0


class Plot(NamedTuple):
    """``logarithmic`` where the least and the most are more than a factor of 20 apart."""

    file: str
    title: str
    axis: str
    series: tuple[Series, ...]
    more_is_better: bool
    logarithmic: bool = False
    in_clear: bool = True
    """Whether those that encrypt nothing are in it."""


PLOTS = (
    Plot(
        "throughput",
        "TCP throughput",
        "Gbit/s",
        (
            Series("tcp_mbit", "one stream", 1e-3),
            Series("tcp4_mbit", "four streams", 1e-3),
        ),
        more_is_better=True,
        in_clear=False,
    ),
    Plot(
        "udp",
        "UDP, highest rate with under 1 % loss",
        "1,000 datagrams/s",
        (Series("udp64_kpps", "64 bytes"), Series("udp1200_kpps", "1200 bytes")),
        more_is_better=True,
    ),
    Plot(
        "ping",
        "Round trip, median",
        "ms, logarithmic",
        (
            Series("ping_us", "idle", 1e-3),
            Series("ping_loaded_us", "under one TCP stream", 1e-3),
        ),
        more_is_better=False,
        logarithmic=True,
    ),
    Plot(
        "cpu",
        "CPU time of both ends' daemons per GB of TCP",
        "s/GB",
        (Series("tcp_cpu_s_per_gb", "one stream"), Series("tcp4_cpu_s_per_gb", "four streams")),
        more_is_better=False,
    ),
)


class Bar(NamedTuple):
    """A contender's row: a figure per series, None where there is none."""

    name: str
    title: str
    figures: tuple[float | None, ...]


def bars(report: dict[str, Any], plot: Plot) -> list[Bar]:
    """Those with a figure in the first series, the best one first."""
    found = []
    for name, contender in report["contenders"].items():
        median = report["median"].get(name, {})
        if plot.series[0].metric not in median or (name in IN_CLEAR and not plot.in_clear):
            continue
        figures = tuple(
            median[one.metric] * one.scale if one.metric in median else None for one in plot.series
        )
        found.append(Bar(name, contender["title"], figures))
    return sorted(found, key=lambda bar: bar.figures[0] or 0.0, reverse=plot.more_is_better)


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write what there are figures for; the files."""
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("svg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        say("no plots: matplotlib is not installed. To have it: pip install '.[bench]'")
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with pyplot.style.context(STYLE):
        for plot in PLOTS:
            if rows := bars(report, plot):
                file = folder / f"{plot.file}.svg"
                figure = _figure(pyplot, plot, rows, _foot(report))
                figure.savefig(
                    file, bbox_inches="tight", facecolor="white", metadata={"Date": None}
                )
                pyplot.close(figure)
                files.append(file)
    return files


def _foot(report: dict[str, Any]) -> str:
    machine = report["machine"]
    rounds = report["parameters"]["rounds"]
    medians = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    return (
        f"{machine['cpu']}, {machine['cores']} cores for both ends, Linux {machine['kernel']}; "
        f"{medians}"
    )


def _figure(pyplot: Any, plot: Plot, rows: list[Bar], foot: str) -> Any:
    height = 0.8 / len(plot.series)
    figure, axes = pyplot.subplots(figsize=(8.6, 1.3 + 0.46 * len(rows)))
    highest = max(value for bar in rows for value in bar.figures if value)
    for number in range(len(plot.series)):
        for place, bar in enumerate(rows):
            value = bar.figures[number]
            if value is None:
                continue
            hatch = "////" if bar.name in IN_CLEAR else None
            colour = _colours(bar.name)[number]
            at = place + (number - (len(plot.series) - 1) / 2) * height
            axes.barh(at, value, height * 0.92, color=colour, hatch=hatch, edgecolor="white", lw=0)
            gap = value * 1.04 if plot.logarithmic else value + highest * 0.008
            axes.text(gap, at, _number(value), va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(rows)), [bar.title for bar in rows])
    for label, bar in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if bar.name.startswith("wgvx") else "normal")
    axes.invert_yaxis()
    _scale(axes, plot, highest)
    better = "more is better" if plot.more_is_better else "less is better"
    axes.set_title(f"{plot.title}", loc="left", fontsize=12, fontweight="bold", pad=22)
    upper = f"{plot.axis}, {better}. Upper bar: {plot.series[0].label}; "
    _note(axes, 1.0, 6, "bottom", f"{upper}lower, lighter: {plot.series[1].label}")
    _note(axes, 0.0, -22, "top", foot)
    return figure


def _note(axes: Any, height: float, offset: int, align: str, text: str) -> None:
    axes.annotate(
        text,
        (0, height),
        (0, offset),
        xycoords="axes fraction",
        textcoords="offset points",
        va=align,
        fontsize=8.5,
        color=REFERENCES[0],
    )


def _scale(axes: Any, plot: Plot, highest: float) -> None:
    if plot.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(right=highest * 1.6)
    else:
        axes.set_xlim(0, highest * 1.1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eaeef2")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _colours(name: str) -> tuple[str, str]:
    if name.startswith("wgvx"):
        return OURS
    return REFERENCES if name == REFERENCE else REST


_STEPS: tuple[tuple[float, Callable[[float], str]], ...] = (
    (100, lambda value: f"{value:.0f}"),
    (10, lambda value: f"{value:.1f}"),
    (0.1, lambda value: f"{value:.2f}"),
)


def _number(value: float) -> str:
    """Three digits that mean something."""
    return next((show(value) for least, show in _STEPS if value >= least), f"{value:.2g}")

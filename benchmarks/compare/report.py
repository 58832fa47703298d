"""A run as JSON, and as tables for people."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.compare.contenders.base import OVERLAY_MTU, TUNNEL_MTU, Contender
from benchmarks.compare.contenders.catalogue import RAW, REFERENCE
from benchmarks.compare.measures.metrics import METRICS
from benchmarks.compare.obtain import Missing, first_line
from benchmarks.compare.summary import Block, medians, ratios
from benchmarks.compare.targets import verdicts

Report = dict[str, Any]

TABLES = {
    "TCP": [name for name in METRICS if name.startswith("tcp")],
    "UDP and ping": [name for name in METRICS if name.startswith(("udp", "ping", "loaded"))],
    "Hub, CPU and memory": [
        name for name in METRICS if name.startswith(("hub", "cpu", "resident"))
    ],
    "Ports": [name for name in METRICS if name.startswith("port")],
    "Flood": [name for name in METRICS if name.startswith("flood")],
}


def assemble(
    blocks: Sequence[Block],
    versions: dict[str, str],
    contenders: Sequence[Contender],
    missing: dict[str, Missing],
    parameters: dict[str, Any],
) -> Report:
    """Everything there is to know of a run."""
    return {
        "machine": machine(),
        "parameters": {**parameters, "tunnel_mtu": TUNNEL_MTU, "overlay_mtu": OVERLAY_MTU},
        "reference": REFERENCE,
        "contenders": {
            contender.name: {
                "title": contender.title,
                "version": versions[contender.name],
                "mtu": contender.mtu,
            }
            for contender in contenders
        },
        "missing": {
            name: {"reason": what.reason, "remedy": what.remedy} for name, what in missing.items()
        },
        "units": {name: metric.unit for name, metric in METRICS.items()},
        "median": medians(blocks),
        "ratio_to_reference": ratios(blocks, REFERENCE),
        "ratio_to_raw": ratios(blocks, RAW),
        "targets": verdicts(blocks),
        "rounds": [asdict(block) for block in blocks],
    }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "python": platform.python_version(),
        "iperf3": first_line("iperf3", "--version"),
    }


def text(report: Report) -> str:
    """All tables, and what could not be had."""
    here = report["machine"]
    lines = [f"{here['cpu']}, {here['cores']} cores, Linux {here['kernel']}", *_rounds(report)]
    for title, metrics in TABLES.items():
        lines += _figures(report, title, metrics)
    lines += ["", "## Targets", "", *_targets(report)]
    if report["missing"]:
        lines += ["", "## Not measured", ""]
        for name, what in report["missing"].items():
            lines.append(f"- {name}: {what['reason']}. To have it: {what['remedy']}")
    return "\n".join(lines)


def _rounds(report: Report) -> list[str]:
    counts: dict[str, list[int]] = {}
    for block in report["rounds"]:
        count = counts.setdefault(block["measure"], [0, 0])
        count[0] += block["quiet"]
        count[1] += 1
    rounds = ", ".join(f"{name} {quiet}/{taken}" for name, (quiet, taken) in counts.items())
    return [f"Quiet rounds of those taken (with none, all count): {rounds}."]


def _figures(report: Report, title: str, metrics: list[str]) -> list[str]:
    """Contenders down, figures across; in brackets the ratio to the reference."""
    median, ratio = report["median"], report["ratio_to_reference"]
    metrics = [name for name in metrics if any(name in row for row in median.values())]
    if not metrics:
        return []
    rows = [["", *(METRICS[name].label for name in metrics)]]
    for name, contender in report["contenders"].items():
        figures = median.get(name, {})
        if any(metric in figures for metric in metrics):
            cells = (_cell(figures, ratio.get(name, {}), metric) for metric in metrics)
            rows.append([contender["title"], *cells])
    units = "; ".join(f"{METRICS[name].label}: {METRICS[name].unit}" for name in metrics)
    return ["", f"## {title}", "", *aligned(rows), "", units]


def _cell(figures: dict[str, float], ratio: dict[str, float], metric: str) -> str:
    if metric not in figures:
        return "-"
    figure = f"{figures[metric]:,.0f}" if figures[metric] >= 1000 else f"{figures[metric]:.3g}"
    return f"{figure} ({ratio[metric]:.2f})" if metric in ratio else figure


def _targets(report: Report) -> list[str]:
    """A row for each target that was measured, both AEAD libraries side by side."""
    names = list(dict.fromkeys(row["contender"] for row in report["targets"]))
    rows = [["", *(head for name in names for head in (name, "reached", "met"))]]
    left_out = []
    for what, group in groupby(report["targets"], key=lambda row: str(row["what"])):
        by_name = {row["contender"]: row for row in group}
        if all(row["reached"] is None for row in by_name.values()):
            left_out.append(what)
        else:
            rows.append([what, *(cell for name in names for cell in _verdict(by_name[name]))])
    table = aligned(rows) if len(rows) > 1 else []
    return [*table, "", *(f"Not measured: {what}." for what in left_out)]


def _verdict(row: dict[str, Any]) -> tuple[str, str, str]:
    bound = f"{'<=' if row['at_most'] else '>='} {row['target']:.3g}"
    if row["reached"] is None:
        return bound, "-", "-"
    return bound, f"{row['reached']:.3g}", "yes" if row["met"] else "no"


def aligned(rows: list[list[str]]) -> list[str]:
    """A Markdown table whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]

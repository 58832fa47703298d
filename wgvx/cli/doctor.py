"""`wgvx doctor`: what this machine allows, and how to mend the rest."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable

from wgvx import probe
from wgvx.cli import output

DESCRIPTION = """\
Try everything that wgvx needs or likes on this machine or in this container: sockets,
/dev/net/tun, a TAP as this user, a TAP in a namespace made without privilege, offloads and
queues, the native data plane, folders, tools. Nothing is left behind. For what does not work
the exact mend is named; tso, uso, gso and gro are the names that `wgvx up --offload` takes.

A second table has the kinds of port that a network can have here, with what to type or to write
for each. Where one cannot be had it names the command, the option of the container's runtime, or
the line of the Kubernetes manifest that changes that.
"""

EPILOG = """\
examples:
  wgvx doctor
  wgvx doctor --json

exit status: 0 there is at least one way to run a node here, 1 there is none
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine allows, and how to mend the rest",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="an object for programs")


def run(args: argparse.Namespace) -> int:
    report = probe.look()
    if args.json:
        output.emit_json(
            {
                "ok": bool(report.ways),
                "ways": report.ways,
                "findings": [dataclasses.asdict(finding) for finding in report.findings],
                "ports": [dataclasses.asdict(row) for row in report.ports],
            }
        )
    else:
        _show(report)
    return 0 if report.ways else 1


def _show(report: probe.Report) -> None:
    _table("tried", report.findings)
    _mends("How to mend what does not work", report.findings)
    output.line()
    _table("port", report.ports)
    _mends("How to have the others", report.ports)
    output.heading("Ways to run a node here")
    for way in report.ways or ("none",):
        output.line(f"  {way}")


def _table(header: str, rows: Iterable[probe.Finding]) -> None:
    output.table(
        (header, "works", "meaning"),
        [(row.what, "yes" if row.ok else "no", row.meaning) for row in rows],
    )


def _mends(title: str, rows: Iterable[probe.Finding]) -> None:
    ill = [row for row in rows if not row.ok and row.mend]
    if ill:
        output.heading(title)
    for row in ill:
        output.line(f"  {row.what}: {row.mend}")

"""`wgvx doctor`: what this machine allows, and how to mend the rest."""

from __future__ import annotations

import argparse
import dataclasses

from wgvx import probe
from wgvx.cli import output

DESCRIPTION = """\
Try everything that wgvx needs or likes on this machine or in this container: sockets,
/dev/net/tun, a TAP as this user, a TAP in a namespace made without privilege, offloads and
queues, the native data plane, folders, tools. Nothing is left behind. For what does not work
the exact mend is named; tso, uso, gso and gro are the names that `wgvx up --offload` takes.
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
            }
        )
    else:
        _show(report)
    return 0 if report.ways else 1


def _show(report: probe.Report) -> None:
    output.table(
        ("tried", "works", "meaning"),
        [(f.what, "yes" if f.ok else "no", f.meaning) for f in report.findings],
    )
    ill = [finding for finding in report.findings if not finding.ok and finding.mend]
    if ill:
        output.heading("How to mend what does not work")
        for finding in ill:
            output.line(f"  {finding.what}: {finding.mend}")
    output.heading("Ways to run a node here")
    for way in report.ways or ("none",):
        output.line(f"  {way}")

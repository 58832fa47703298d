"""wgvx and everything a user could pick instead, side by side. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.compare import plots, report
from benchmarks.compare.contenders import catalogue
from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.lab import Lab, laboratory
from benchmarks.compare.measures.catalogue import MEASURES, Group, need_tools
from benchmarks.compare.obtain import Missing, debian, say
from benchmarks.compare.rounds import Rounds

TOOLS = (
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("iperf3", "iperf3"),
    ("ping", "iputils-ping"),
)
"""Without which nothing can be measured; command and Debian package."""
MAKERS = {
    Group.PAIRS: catalogue.pairs,
    Group.HUBS: catalogue.hubs,
    Group.PORTS: catalogue.ports,
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Comparison:
    """A run: who is there, who is not and why, and what was measured."""

    def __init__(self, lab: Lab, args: argparse.Namespace) -> None:
        self._args = args
        self._wanted: list[str] = [catalogue.RAW, *args.contenders]
        # In the order of the catalogue: memory comes after all that fills it.
        self._measures = [name for name in MEASURES if name in args.only]
        self.missing: dict[str, Missing] = {}
        self.versions: dict[str, str] = {}
        self._leave_out_measures()
        groups = {MEASURES[name].of for name in self._measures} | {Group.PAIRS}
        self._groups = {
            group: self._bring_up(make(lab), group.value)
            for group, make in MAKERS.items()
            if group in groups
        }
        self.rounds = self._prepare_rounds()

    def _leave_out_measures(self) -> None:
        for name in list(self._measures):
            try:
                need_tools(MEASURES[name])
            except Missing as missing:
                self._miss(name, missing)
                self._measures.remove(name)

    def _bring_up(self, contenders: Sequence[Contender], where: str = "") -> list[Contender]:
        """Those that are wanted and to be had, running."""
        up = []
        for contender in contenders:
            name = contender.name
            if name not in self._wanted or name in self.missing:
                continue
            try:
                self.versions[name] = contender.prepare()
                contender.bring_up()
            except Missing as missing:
                self._miss(name + where, missing)
            else:
                up.append(contender)
        return up

    def _miss(self, name: str, missing: Missing) -> None:
        self.missing[name] = missing
        say(f"without {name}: {missing.reason}. To have it: {missing.remedy}")

    def _prepare_rounds(self) -> Rounds:
        turns = {name: self._groups[MEASURES[name].of] for name in self._measures}
        turns = {name: contenders for name, contenders in turns.items() if contenders}
        everybody = {one.name: one for group in self._groups.values() for one in group}
        self._everybody = list(everybody.values())
        say(f"measuring {', '.join(turns)} of {', '.join(everybody)}")
        return Rounds(
            self._groups[Group.PAIRS][0], turns, self._args.rounds, self._args.seconds, self._keep
        )

    def _keep(self) -> None:
        """So that nothing is lost of a run that is killed."""
        if self._args.json:
            write(self._args.json, self.report())

    def report(self) -> report.Report:
        parameters = {"rounds": self._args.rounds, "seconds": self._args.seconds}
        return report.assemble(
            self.rounds.blocks, self.versions, self._everybody, self.missing, parameters
        )


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    names = list(catalogue.NAMES)
    parser = argparse.ArgumentParser(
        prog="./dev compare", description=__doc__, epilog=f"contenders: {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=3, metavar="S", help="per measurement")
    parser.add_argument(
        "--contenders",
        type=_list_of(names),
        default=names,
        metavar="A,B,...",
        help="measured beside the bare cable; all of them",
    )
    parser.add_argument(
        "--only",
        type=_list_of(list(MEASURES)),
        default=list(MEASURES),
        metavar="A,B,...",
        help=f"what is measured: {', '.join(MEASURES)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw it, as SVG")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="measure nothing: print and draw a report written before",
    )
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    if args.source is None and os.geteuid() != 0:
        parser.error("must be root: it makes network namespaces (sudo ./dev compare)")
    return args


def _list_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def parse_list(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in choices]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there is {', '.join(choices)}")
        return names

    return parse_list


def measure(args: argparse.Namespace) -> report.Report:
    # As an exception, so that what was made is unmade.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Also where a shell started us in the background, and so deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # sudo and cron may leave out where daemons are.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    for command, package in TOOLS:
        debian(command, package)
    with laboratory() as lab:
        comparison = Comparison(lab, args)
        try:
            comparison.rounds.run()
        except KeyboardInterrupt:
            say("interrupted: this is what was measured so far")
        return comparison.report()


def write(path: Path, found: report.Report) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n")


def main() -> int:
    args = parse()
    try:
        found = json.loads(args.source.read_text()) if args.source else measure(args)
    except Missing as missing:
        say(f"{missing.reason}; to have it: {missing.remedy}")
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text(found))
    if args.json:
        write(args.json, found)
    if args.plots:
        plots.draw(found, args.plots)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`wgvx fleet`: one file for many nodes."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from wgvx.cli import output

DESCRIPTION = """\
One file, the plan, names the sites of a fleet, their endpoints, who has a tunnel to whom, and the
tenants: Layer 2 networks with a VNI, a prefix and some of the sites. From it follow every node's
addresses, keys, MTUs and files, for wgvx and for the kernel's WireGuard and VXLAN.
"""

EPILOG = """\
example:
  wgvx fleet init blue.toml      write a plan to begin with, commented
  wgvx fleet check blue.toml     what it means, with the MTU arithmetic, and what is wrong with it
  wgvx fleet diff blue.toml      what a render would change; no secret is shown
  wgvx fleet render blue.toml    write it all into blue.rendered/
  wgvx fleet rotate blue.toml a  new keys for site a, step by step, in blue.rollout/
  wgvx fleet remove blue.toml a  site a taken out of the plan, step by step

Beside blue.toml there are then blue.lock (the addresses that were assigned: keep it), blue.keys/
(the keys: keep it, and keep it secret) and blue.rendered/, all of which follows from the former.

exit status: 0 done (diff: nothing would change), 1 failed while running (diff: something would
change), 2 bad usage, or a plan with a fault: the message names file, line, key and what was wanted
"""


class ActionModule(Protocol):
    """What the module of an action offers."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit status."""


Options = Callable[[argparse.ArgumentParser], None]


def _no_more(_: argparse.ArgumentParser) -> None:
    """The plan is all there is to say."""


def _check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; has every path")


def _rotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sites", metavar="SITE", nargs="*", help="whose keys; none: everybody's")


def _remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sites", metavar="SITE", nargs="+", help="who is to go")


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="NAME.conf of each node"
    )


ACTIONS: dict[str, tuple[str, Options]] = {
    "init": ("write a plan to begin with", _no_more),
    "import": ("make a plan out of wg-quick's files, keys and addresses as they are", _import),
    "check": ("validate a plan and explain what it means", _check),
    "diff": ("what a render would change, without secrets", _no_more),
    "render": ("write every node's files", _no_more),
    "rotate": ("make new keys, and the steps in which nodes take them", _rotate),
    "remove": ("take sites out, and write the steps in which the others let go", _remove),
}


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `wgvx fleet`."""
    parser = subparsers.add_parser(
        "fleet",
        help="one file for many nodes",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    for name, (summary, options) in ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=f"{summary}.".capitalize())
        action.add_argument("plan", metavar="PLAN", type=Path, help="the plan's file")
        options(action)


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    if args.plan.suffix != ".toml" or not args.plan.stem:
        output.usage(f"{args.plan}: want a plan's file, which ends in .toml")
    module = importlib.import_module(f"wgvx.cli.fleet_{args.action}")
    return cast("ActionModule", module).run(args)

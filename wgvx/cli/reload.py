"""``wgvx reload``: let a running node read its file again."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, ask, find

PATIENCE = 60.0
"""Seconds: a file may hold 100,000 prefixes, and the node gives up after half of that."""

DESCRIPTION = """\
Let a running node read its file again, and the key files that it names, and be as they say. What
has not changed goes on undisturbed: sessions and learned endpoints stay. Prints what was changed.

The file is the truth: whatever `wg set` or `wgvx fdb` changed since the start goes. A file that
cannot be used changes nothing, and neither does one with a change that takes a restart: networks
that come or go, their attachments, addresses, MTU, bridge, netns and udp_port; mtu and state_dir
in [node].

SIGHUP does the same, and answers in the log.
"""

EPILOG = """\
examples:
  wgvx reload a
  systemctl kill --signal=HUP wgvx@a

exit status: 0 done, 1 no such node is running, or a port or mark was refused, 2 a file that cannot
be used
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "reload",
        help="let a running node read its file again",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a running node, or its file")


def run(args: argparse.Namespace) -> int:
    """Ask, and tell what came of it."""
    try:
        done = ask(find(node_name(args.name)), "reload", patience=PATIENCE)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    for change in done["changes"] or ["nothing has changed"]:
        output.line(change)
    for text in done["warnings"]:
        output.warning(text)
    return 0

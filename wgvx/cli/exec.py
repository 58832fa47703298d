"""``wgvx exec``: run a command inside a rootless node's namespace."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from types import FrameType

from wgvx.cli.output import UserError, usage
from wgvx.config import node_name
from wgvx.control.client import ControlError, find, open_namespaces
from wgvx.ports.namespace import enter, exit_status

FAILED = 125

DESCRIPTION = """\
Run COMMAND where a rootless node's TAPs are. It is uid 0 there, and yourself outside: it may
change the namespace's addresses and routes, and nothing else. A node with a userspace stack has
nothing to enter: the message names its proxy.
"""

EPILOG = """\
examples:
  wgvx exec a -- ping -c 3 10.0.0.2
  wgvx exec a -- bash
  wgvx exec a --netns blue -- ip address    a network's own namespace (`netns` in its table)

exit status: 0 or any other that COMMAND ends with, 128 + the signal that ended it, 126 or 127 where
it cannot be started, 2 where the node has no namespace, 125 where wgvx failed
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "exec",
        usage="wgvx exec NAME [--netns N] -- COMMAND ...",
        help="run a command inside a rootless node",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a running node, or its file")
    parser.add_argument("--netns", metavar="N", help="the namespace of the network that names it")


def run(args: argparse.Namespace) -> int:
    """Enter and run."""
    if not args.passthrough:
        usage("say what to run: wgvx exec NAME -- COMMAND ...")
    try:
        namespaces = open_namespaces(find(node_name(args.name)), args.netns)
    except ControlError as error:
        status = error.exit_status if error.exit_status == 2 else FAILED
        raise UserError(str(error), status) from None
    try:
        process = enter(*namespaces, args.passthrough)
    finally:
        for descriptor in namespaces:
            os.close(descriptor)
    return exit_status(_wait(process))


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Until COMMAND ends; SIGINT is left to it, SIGTERM and SIGHUP are passed on."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGHUP, pass_on)
    return process.wait()

"""``wgvx down``: stop a running node."""

from __future__ import annotations

import argparse

from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, ask, find
from wgvx.control.paths import wait_released

DESCRIPTION = "Stop a running node; returns when everything it created is gone."

EPILOG = """\
examples:
  wgvx down site-a
  wgvx down ./site-a.toml    a path works too: the node is named after its file, still there or not

exit status: 0 stopped, 1 no such node is running
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "down",
        help="stop a running node",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a running node, or its file")


def run(args: argparse.Namespace) -> int:
    """Ask, and wait for the lock."""
    try:
        path = find(node_name(args.name))
        with path.open() as lock:
            ask(path, "down")
            wait_released(lock)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    except FileNotFoundError:
        raise UserError(f"node {node_name(args.name)} has just ended") from None
    return 0

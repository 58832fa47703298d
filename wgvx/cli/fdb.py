"""``wgvx fdb``: see and edit the forwarding table of a running node."""

from __future__ import annotations

import argparse
from typing import Any

from wgvx.cli import output
from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, ask, find

DESCRIPTION = """\
Which MAC address is where: behind a remote VTEP, or on one of the node's own attachments. Edits
last until the node stops. MAC 00:00:00:00:00:00 is the flood list: where broadcasts, multicasts and
frames to unknown addresses go, a copy to each VTEP.
"""

EPILOG = """\
examples:
  wgvx fdb a                                         the table
  wgvx fdb a add 02:00:00:00:00:02 10.254.0.2        a static entry
  wgvx fdb a add 00:00:00:00:00:00 10.254.0.3        one more VTEP to flood to
  wgvx fdb a del 02:00:00:00:00:02
  wgvx fdb a flush --vtep 10.254.0.2                 forget what was learned from one VTEP

exit status: 0 done, 1 no such node or entry, 2 bad usage
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    vni = argparse.ArgumentParser(add_help=False)
    vni.add_argument(
        "--vni", type=int, metavar="N", default=argparse.SUPPRESS, help="the network, of several"
    )
    parser = subparsers.add_parser(
        "fdb",
        parents=[vni],
        usage="wgvx fdb NAME [--vni N] [--json] [add MAC VTEP | del MAC [VTEP] | flush ...]",
        help="see and edit a running node's forwarding table",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a running node")
    parser.add_argument("--json", action="store_true", help="for programs")
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", prog="wgvx fdb NAME"
    )
    add = actions.add_parser("add", parents=[vni], help="add a static entry")
    add.add_argument("mac", metavar="MAC")
    add.add_argument("vtep", metavar="VTEP", help="its tunnel address")
    delete = actions.add_parser("del", parents=[vni], help="delete an entry")
    delete.add_argument("mac", metavar="MAC")
    delete.add_argument("vtep", metavar="VTEP", nargs="?", help="only the entry at this address")
    flush = actions.add_parser("flush", parents=[vni], help="delete what was learned")
    flush.add_argument("--vtep", metavar="A", help="only entries at this tunnel address")
    flush.add_argument("--static", action="store_true", help="static entries too")


def run(args: argparse.Namespace) -> int:
    """Print or edit."""
    vni = getattr(args, "vni", None)
    try:
        lock = find(node_name(args.name))
        if args.action == "add":
            ask(lock, "fdb_add", vni=vni, mac=args.mac, vtep=args.vtep)
        elif args.action == "del":
            ask(lock, "fdb_delete", vni=vni, mac=args.mac, vtep=args.vtep)
        elif args.action == "flush":
            gone = ask(lock, "fdb_flush", vni=vni, vtep=args.vtep, static=args.static)
            output.line(f"{gone} {'entry' if gone == 1 else 'entries'} deleted")
        else:
            _print(ask(lock, "fdb", vni=vni), args.json)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    return 0


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.emit_json(rows)
    else:
        print_rows(rows)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The table for people."""
    output.table(
        ("VNI", "MAC", "where", "state", "age"),
        (
            (
                row["vni"],
                "flood list" if row["mac"] == "00:00:00:00:00:00" else row["mac"],
                f"VTEP {row['vtep']}" if row["vtep"] else f"port {row['port']}",
                row["state"],
                "-" if row["age"] is None else f"{row['age']} s",
            )
            for row in rows
        ),
    )

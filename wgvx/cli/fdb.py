"""``wgvx fdb``: see and edit the forwarding table of a running node."""

from __future__ import annotations

import argparse
from typing import Any

from wgvx.cli import output, watch
from wgvx.cli.fdb_watch import FdbView
from wgvx.cli.fdb_words import FLOOD, place
from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, ask, find

DESCRIPTION = """\
Which MAC address is where: behind a remote VTEP, or on one of the node's own attachments. Edits
last until the node stops or reloads its file. MAC 00:00:00:00:00:00 is the flood list: where
broadcasts, multicasts and frames to unknown addresses go, a copy to each VTEP. Below the table are
the stations that moved last.

With --watch: a line for each MAC that is learned, moves, gets too old or is edited, from now on,
through stops and starts of the node. Two looks SECONDS apart are compared, so what came and went in
between is not told.
"""

EXIT_STATUS = "exit status: 0 done, 1 no such node or entry, 2 bad usage\n"

EPILOG = f"""\
examples:
  wgvx fdb a                                         the table
  wgvx fdb a add 02:00:00:00:00:02 10.254.0.2        a static entry
  wgvx fdb a add 00:00:00:00:00:00 10.254.0.3        one more VTEP to flood to
  wgvx fdb a del 02:00:00:00:00:02
  wgvx fdb a flush --vtep 10.254.0.2                 forget what was learned from one VTEP
  wgvx fdb a moves                                   which stations moved
  wgvx fdb a --watch                                 what happens from now on
  wgvx fdb a --watch 0.2 --json                      the same, an object a line

{EXIT_STATUS}"""

MAC_HELP = "six bytes in hex, as 02:00:00:00:00:02; 00:00:00:00:00:00 is the flood list"

ADD = """\
Add a static entry: frames to MAC go to VTEP. It does not age, and nothing learned replaces it. A
unicast MAC has one VTEP, so a second entry replaces the first, and says so. A multicast MAC and
the flood list take several; a multicast MAC with entries goes to those instead of to the flood
list, and so do broadcasts once ff:ff:ff:ff:ff:ff has one.
"""

ADD_EXAMPLES = """\
examples:
  wgvx fdb a add 02:00:00:00:00:02 10.254.0.2
  wgvx fdb a add 00:00:00:00:00:00 10.254.0.3        one more VTEP to flood to
  wgvx fdb a add 02:00:00:00:00:02 10.254.0.2 --vni 4201
"""

DELETE = """\
Delete the entries of MAC, static or learned, or with VTEP only the one there.
"""

DELETE_EXAMPLES = """\
examples:
  wgvx fdb a del 02:00:00:00:00:02
  wgvx fdb a del 00:00:00:00:00:00 10.254.0.3        flood to it no more
"""

FLUSH = """\
Delete what was learned, in all networks of the node unless --vni names one, and say how many
entries went. The flood list and the ports' own addresses stay, with --static too.
"""

FLUSH_EXAMPLES = """\
examples:
  wgvx fdb a flush
  wgvx fdb a flush --vni 4200 --static
  wgvx fdb a flush --vtep 10.254.0.2                 forget what was learned from one VTEP
"""


MOVES = """\
Stations that moved from one VTEP or port to another: from where to where, when last, and how often.
Those of each network that moved last are remembered, 128 of them, until the node stops. A machine
that is moved moves once; one that moves all the time is two machines with one MAC, or a loop. Where
the network has a move_limit, such a one is held where it is, for as long as is told.
"""

MOVES_EXAMPLES = """\
examples:
  wgvx fdb a moves
  wgvx fdb a moves --json --vni 4200
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
        usage="wgvx fdb NAME [--vni N] [--json] [--watch [SECONDS]] "
        "[add MAC VTEP | del MAC [VTEP] | flush ... | moves]",
        help="see and edit a running node's forwarding table",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a running node, or its file")
    parser.add_argument("--json", action="store_true", help="for programs")
    watch.add_option(parser, "print what is learned, moves, ages or is edited as it happens")
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", prog="wgvx fdb NAME"
    )
    add = _action(actions, "add", vni, "add a static entry", ADD, ADD_EXAMPLES)
    add.add_argument("mac", metavar="MAC", help=MAC_HELP)
    add.add_argument("vtep", metavar="VTEP", help="its tunnel address, as 10.254.0.2 or fd00::2")
    delete = _action(actions, "del", vni, "delete an entry", DELETE, DELETE_EXAMPLES)
    delete.add_argument("mac", metavar="MAC", help=MAC_HELP)
    delete.add_argument("vtep", metavar="VTEP", nargs="?", help="only the entry at this address")
    flush = _action(actions, "flush", vni, "delete what was learned", FLUSH, FLUSH_EXAMPLES)
    flush.add_argument("--vtep", metavar="A", help="only entries at this tunnel address")
    flush.add_argument(
        "--static", action="store_true", help="static entries too; the flood list stays"
    )
    moves = _action(actions, "moves", vni, "which stations moved", MOVES, MOVES_EXAMPLES)
    moves.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="for programs"
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    vni: argparse.ArgumentParser,
    summary: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    return actions.add_parser(
        name,
        parents=[vni],
        help=summary,
        description=description,
        epilog=f"{examples}\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:
    """Print or edit."""
    vni = getattr(args, "vni", None)
    try:
        lock = find(node_name(args.name))
        if args.action == "add":
            _tell(ask(lock, "fdb_add", vni=vni, mac=args.mac, vtep=args.vtep))
        elif args.action == "del":
            ask(lock, "fdb_delete", vni=vni, mac=args.mac, vtep=args.vtep)
        elif args.action == "flush":
            gone = ask(lock, "fdb_flush", vni=vni, vtep=args.vtep, static=args.static)
            output.line(f"{gone} {'entry' if gone == 1 else 'entries'} deleted")
        elif args.action == "moves":
            _print_moves(lock.stem, ask(lock, "fdb_moves", vni=vni), args.json)
        elif args.watch is not None:
            return _watch(args, vni)
        else:
            _print(lock.stem, ask(lock, "fdb", vni=vni), args.json)
            if not args.json and (moves := ask(lock, "fdb_moves", vni=vni)):
                output.heading("moves")
                print_moves(moves)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    return 0


def _watch(args: argparse.Namespace, vni: int | None) -> int:
    def asked(command: str, **arguments: Any) -> Any:
        return ask(find(node_name(args.name)), command, patience=watch.PATIENCE, **arguments)

    def ageing() -> dict[int, int]:
        return {network["vni"]: network["ageing"] for network in asked("show")["networks"]}

    asked("fdb", vni=vni)  # A node that never ran, or has no such network, is a mistake.
    view = FdbView(lambda: asked("fdb", vni=vni), ageing, as_json=args.json)
    return watch.follow(view, args.watch)


def _tell(added: dict[str, Any]) -> None:
    if added["replaced"] is not None:
        output.line(f"replaced {added['replaced']}")
    for text in added["warnings"]:
        output.warning(text)


def _print(node: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.emit_json(rows)
    elif not rows:  # Every network has at least the row of its own port.
        output.line(f"node {node} has no networks, so nothing to forward")
    else:
        print_rows(rows)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The table for people."""
    output.table(
        ("VNI", "MAC", "where", "state", "age (s)"),
        (
            (
                row["vni"],
                "flood list" if row["mac"] == FLOOD else row["mac"],
                place(row),
                row["state"],
                row["age"],
            )
            for row in rows
        ),
    )


def _print_moves(node: str, moves: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.emit_json(moves)
    elif not moves:
        output.line(f"nothing has moved in node {node}")
    else:
        print_moves(moves)


def print_moves(moves: list[dict[str, Any]]) -> None:
    """The table for people."""
    output.table(
        ("VNI", "MAC", "from", "to", "ago (s)", "times", "held (s)"),
        (
            (
                move["vni"],
                move["mac"],
                place(move["from"]),
                place(move["to"]),
                move["ago"],
                move["times"],
                move.get("held") or "-",  # older nodes do not tell
            )
            for move in moves
        ),
    )

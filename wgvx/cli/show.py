"""``wgvx show``: peers, networks and counters of running nodes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from wgvx.cli import output, ports, quiet_words, watch
from wgvx.cli.output import UserError
from wgvx.cli.show_watch import ShowView
from wgvx.cli.units import ago, data_size
from wgvx.config import node_name
from wgvx.control.client import ControlError, NodeEnded, ask, find
from wgvx.control.paths import is_locked, running, unseen

MAXIMUM_LISTED = 4
"""Allowed IPs of a peer that are shown to people; --json has them all."""

DESCRIPTION = """\
What a running node, or without NAME every node of yours, knows and counts. A drop counter says why
packets were refused; only those that are not 0 are shown, --json has all. Of a network's ports it
says the type, of a VM's socket whether the VM is there, of a stack what leads to it.

With --watch: rates, ages of handshakes and drops a second as they change, through stops and starts
of the node. In a pipe it is plain text; with --json, a line each time.
"""

EPILOG = """\
examples:
  wgvx show
  wgvx show a --json | jq .drops
  wgvx show a --watch
  wgvx show a --watch 10 --json >> a.log

exit status: 0 shown, 1 no such node is running
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "show",
        help="peers, networks and counters of running nodes",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a running node, or its file")
    parser.add_argument("--json", action="store_true", help="for programs")
    watch.add_option(parser, "show it again and again")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    try:
        if args.watch is not None:
            return _watch(args)
        if args.name is not None:
            node = ask(find(node_name(args.name)), "show")
            _print([node], node, args.json)
        else:
            nodes = _all()
            _print(nodes, nodes, args.json)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    return 0


def _watch(args: argparse.Namespace) -> int:
    def look() -> list[dict[str, Any]]:
        if args.name is None:
            return _all()
        return [ask(find(node_name(args.name)), "show", patience=watch.PATIENCE)]

    look()  # A node that never ran is a mistake; one that stops is waited for.
    view = ShowView(look, _emitter(one=args.name is not None) if args.json else None)
    return (watch.follow if args.json else watch.watch)(view, args.watch)


def _emitter(*, one: bool) -> Callable[[list[dict[str, Any]]], None]:
    """Prints nodes for programs, on a line: a named one, while it runs, or an array of all."""

    def emit(nodes: list[dict[str, Any]]) -> None:
        for value in nodes if one else [nodes]:
            print(json.dumps(value), flush=True)

    return emit


def _all() -> list[dict[str, Any]]:
    nodes = []
    for _, lock in running():
        try:
            nodes.append(ask(lock, "show"))
        except ControlError as error:
            # Just starting or ending: no reason not to show the others.
            if not isinstance(error, NodeEnded) and is_locked(lock):
                output.warning(str(error))
    return nodes


def _print(nodes: list[dict[str, Any]], as_json: object, wanted: bool) -> None:
    if wanted:
        output.emit_json(as_json)
        return
    if not nodes:
        output.line(f"no node is running{unseen()}")
    for position, node in enumerate(nodes):
        if position:
            output.line()
        print_node(node)


def print_node(node: dict[str, Any]) -> None:
    """One node for people, a block each for the node, its peers, networks and drops."""
    output.title(f"node: {node['name']}")
    offloads = ", ".join(name for name, on in node["offloads"].items() if on) or "none"
    # A node that was started before an upgrade does not tell.
    confinement = node.get("confinement", {})
    workers = f", {number} workers" if (number := node.get("workers", 1)) > 1 else ""
    output.fields(
        [
            ("public key", node["public_key"] or "none"),
            ("listening port", node["listen_port"]),
            ("data plane", f"{node['dataplane']} ({node['aead']}){workers}, offloads: {offloads}"),
            ("confined by", ", ".join(name for name, on in confinement.items() if on) or "nothing"),
        ]
    )
    for peer in node["peers"]:
        _print_peer(peer)
    for network in node["networks"]:
        output.heading(f"network: {network['vni']}")
        output.fields(
            [
                *_ports(network),
                ("MTU", "-" if network["mtu"] is None else network["mtu"]),
                ("FDB entries", network["fdb_entries"]),
                ("frames", f"{network['rx_frames']} received, {network['tx_frames']} sent"),
                *quiet_words.rows(network),
            ]
        )
        for attach in network["attach"]:
            counted = [(what, count) for what, count in attach.get("counters", {}).items() if count]
            if counted:
                output.heading(f"stack: {attach['name']}")
                output.fields(counted)
    drops = [(reason, count) for reason, count in node["drops"].items() if count]
    if drops:
        output.heading("drops")
        output.fields(drops)


def _ports(network: dict[str, Any]) -> Iterator[tuple[str, str]]:
    down = network.get("down", ())
    for port in network["attach"]:
        yield from ports.rows(port, _state(port, is_down=port["name"] in down))


def _state(port: dict[str, Any], *, is_down: bool) -> str:
    if port["type"] not in ("stream", "dgram"):
        return "ended" if is_down else ""
    if is_down:
        return "not connected"
    # UDP does not tell whether anybody is there; a path has a slash in it, an address has none.
    udp = port["type"] == "dgram" and "/" not in port.get("local", "/")
    return "open" if udp else "connected"


def _print_peer(peer: dict[str, Any]) -> None:
    output.heading(f"peer: {peer['public_key']}")
    rows = [] if peer["name"] is None else [("name", peer["name"])]
    rows += [
        ("endpoint", peer["endpoint"] or "none"),
        ("allowed IPs", output.some(peer["allowed_ips"], MAXIMUM_LISTED)),
        ("latest handshake", _handshake(peer["latest_handshake"])),
        # A node that was started before an upgrade does not tell.
        *([("path MTU", path_mtu)] if (path_mtu := peer.get("path_mtu")) else []),
        ("transfer", f"{data_size(peer['rx_bytes'])} received, {data_size(peer['tx_bytes'])} sent"),
    ]
    output.fields(rows)


def _handshake(unix_seconds: int) -> str:
    return ago(time.time() - unix_seconds) if unix_seconds else "never"

"""``wgvx show``: peers, networks and counters of running nodes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from wgvx.cli import output, ports
from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, NodeEnded, ask, find
from wgvx.control.paths import is_locked, running, unseen

MAXIMUM_LISTED = 4
"""Allowed IPs of a peer that are shown to people; --json has them all."""

DESCRIPTION = """\
What a running node, or without NAME every node of yours, knows and counts. A drop counter says why
packets were refused; only those that are not 0 are shown, --json has all. Of a network's ports it
says the type, of a VM's socket whether the VM is there, of a stack what leads to it.
"""

EPILOG = """\
examples:
  wgvx show
  wgvx show a --json | jq .drops

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


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    try:
        if args.name is not None:
            node = ask(find(node_name(args.name)), "show")
            _print([node], node, args.json)
        else:
            nodes = _all()
            _print(nodes, nodes, args.json)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    return 0


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
            ]
        )
    drops = [(reason, count) for reason, count in node["drops"].items() if count]
    if drops:
        output.heading("drops")
        output.fields(drops)


def _ports(network: dict[str, Any]) -> Iterator[tuple[str, str]]:
    down = network.get("down", ())
    for port in network["attach"]:
        state = ""
        if port["type"] in ("stream", "dgram"):
            state = "not connected" if port["name"] in down else "connected"
        elif port["name"] in down:
            state = "ended"
        yield from ports.rows(port, state)


def _print_peer(peer: dict[str, Any]) -> None:
    output.heading(f"peer: {peer['public_key']}")
    rows = [] if peer["name"] is None else [("name", peer["name"])]
    rows += [
        ("endpoint", peer["endpoint"] or "none"),
        ("allowed IPs", output.some(peer["allowed_ips"], MAXIMUM_LISTED)),
        ("latest handshake", _ago(peer["latest_handshake"])),
        ("transfer", f"{_bytes(peer['rx_bytes'])} received, {_bytes(peer['tx_bytes'])} sent"),
    ]
    output.fields(rows)


def _ago(unix_seconds: int) -> str:
    if not unix_seconds:
        return "never"
    seconds = max(0, int(time.time()) - unix_seconds)
    if seconds < 120:
        return f"{seconds} s ago"
    if seconds < 7200:
        return f"{seconds // 60} min ago"
    return f"{seconds // 3600} h ago"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"

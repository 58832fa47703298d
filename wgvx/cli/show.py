"""``wgvx show``: peers, networks and counters of running nodes."""

from __future__ import annotations

import argparse
import time
from typing import Any

from wgvx.cli import output
from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, ask, find
from wgvx.control.paths import running

DESCRIPTION = """\
What a running node, or without NAME every node of yours, knows and counts. A drop counter says why
packets were refused; only those that are not 0 are shown, --json has all.
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
    parser.add_argument("name", metavar="NAME", nargs="?", help="a running node")
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
        except ControlError as error:  # Just starting or ending: no reason not to show the others.
            output.warning(str(error))
    return nodes


def _print(nodes: list[dict[str, Any]], as_json: object, wanted: bool) -> None:
    if wanted:
        output.emit_json(as_json)
        return
    if not nodes:
        output.line("no node is running")
    for node in nodes:
        print_node(node)


def print_node(node: dict[str, Any]) -> None:
    """One node for people."""
    output.heading(node["name"])
    offloads = ", ".join(name for name, on in node["offloads"].items() if on) or "none"
    output.table(
        ("", ""),
        [
            ("public key", node["public_key"]),
            ("listening port", str(node["listen_port"])),
            ("data plane", f"{node['dataplane']} ({node['aead']}), offloads: {offloads}"),
        ],
        indent=2,
    )
    if node["peers"]:
        output.heading("  peers")
        output.table(
            ("name", "public key", "endpoint", "allowed IPs", "handshake", "received", "sent"),
            (
                (
                    peer["name"],
                    peer["public_key"],
                    peer["endpoint"],
                    _some(peer["allowed_ips"]),
                    _ago(peer["latest_handshake"]),
                    _bytes(peer["rx_bytes"]),
                    _bytes(peer["tx_bytes"]),
                )
                for peer in node["peers"]
            ),
            indent=4,
        )
    if node["networks"]:
        output.heading("  networks")
        output.table(
            ("VNI", "ports", "MTU", "FDB entries", "frames received", "frames sent"),
            (
                (
                    network["vni"],
                    ", ".join(one["name"] for one in network["attach"]),
                    network["mtu"],
                    network["fdb_entries"],
                    network["rx_frames"],
                    network["tx_frames"],
                )
                for network in node["networks"]
            ),
            indent=4,
        )
    drops = [(reason, count) for reason, count in node["drops"].items() if count]
    if drops:
        output.heading("  drops")
        output.table(("reason", "packets"), drops, indent=4)


def _some(items: list[str]) -> str:
    shown = ", ".join(items[:3])
    return f"{shown}, and {len(items) - 3} more" if len(items) > 3 else shown


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

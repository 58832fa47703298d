"""`wgvx fleet render`: every node's files."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.cli.units import counted
from wgvx.fleet import files, numbers
from wgvx.fleet.advice import warnings
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.read import read
from wgvx.fleet.render import tree


def run(args: argparse.Namespace) -> int:
    """Write what differs: first what has to be remembered, then what follows from it."""
    with files.alone(args.plan.absolute()):
        plan = read(args.plan)
        keyring = Keyring(plan)
        fleet = Fleet(plan, numbers.assign(plan, numbers.recall(plan)), keyring)
        wanted = tree(fleet)
        made = keyring.unsaved
        numbers.save(plan, fleet.numbers)
        keyring.save()
        changes = files.write_tree(plan.beside("rendered"), wanted)
    for text in warnings(fleet):
        output.warning(text)
    output.line(
        f"{plan.beside('rendered')}: {counted(len(plan.sites), 'node')}, {len(wanted)} files: "
        f"{len(changes.made)} new, {len(changes.changed)} changed, {len(changes.removed)} removed"
        + (f"; {counted(made, 'key')} made" if made else "")
    )
    if changes.made:
        output.line(
            "next, of nodes/NAME, on each node: wgvx/NAME.toml to /etc/wgvx, then: wgvx up NAME"
        )
        if any(site.kind == "kernel" for site in plan.sites.values()):
            output.line(
                "  where the kind is kernel: wg-quick/* to /etc/wireguard, then: wg-quick up NAME"
            )
    return 0

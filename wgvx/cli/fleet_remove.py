"""`wgvx fleet remove`: some sites less, and the order in which the others let go of them."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.cli.fleet_rollout import bring_out, settled
from wgvx.fleet import files, numbers, shrink
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.read import read


def run(args: argparse.Namespace) -> int:
    """Take sites out of the plan, and their keys out of the folder of keys."""
    with files.alone(args.plan.absolute()):
        plan = read(args.plan)
        before = settled(plan)
        smaller, text = shrink.shrunk(plan, args.sites)
        keyring = Keyring(smaller)
        after = Fleet(smaller, numbers.assign(smaller, before.numbers), keyring)

        def remember() -> None:
            keyring.save()
            # Before what belongs to those who go: in a plan that still has them they keep it.
            shrink.write(plan.path, text)
            numbers.save(smaller, after.numbers)
            keyring.forget(smaller, after.links.pairs())

        bring_out(before, after, remember)
    output.line(f"{plan.path}: {', '.join(args.sites)} taken out, and the keys deleted")
    return 0

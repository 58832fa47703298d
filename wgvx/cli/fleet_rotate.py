"""`wgvx fleet rotate`: new keys, and the order in which nodes take them."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.cli.fleet_rollout import bring_out, settled
from wgvx.fleet import files
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.read import read


def run(args: argparse.Namespace) -> int:
    """Renew the keys of some sites, or of all."""
    with files.alone(args.plan.absolute()):
        plan = read(args.plan)
        before = settled(plan)
        unknown = sorted(set(args.sites) - plan.sites.keys())
        if unknown:
            output.usage(f"{plan.path}: there is no site {', '.join(unknown)}")
        keyring = Keyring(plan)
        keyring.renew(args.sites or plan.sites)
        after = Fleet(plan, before.numbers, keyring)
        bring_out(before, after, keyring.save)
    return 0

"""`wgvx fleet diff`: what a render would change."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.fleet import numbers
from wgvx.fleet.difference import difference
from wgvx.fleet.files import read_tree
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.read import read
from wgvx.fleet.render import tree


def run(args: argparse.Namespace) -> int:
    """Show it; nothing is written."""
    plan = read(args.plan)
    keyring = Keyring(plan)
    after = tree(Fleet(plan, numbers.assign(plan, numbers.recall(plan)), keyring))
    before = read_tree(plan.beside("rendered"))
    lines = list(difference(before, after, keyring.unsaved_public()))
    for line in lines:
        output.line(line)
    return 1 if lines else 0

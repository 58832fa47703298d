"""What `wgvx fleet rotate` and `remove` have in common: a rollout, step by step."""

from __future__ import annotations

from collections.abc import Callable

from wgvx.cli import output
from wgvx.fleet import files, numbers, rollout
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.nodes import Fleet
from wgvx.fleet.plan import Plan
from wgvx.fleet.render import tree


def settled(plan: Plan) -> Fleet:
    """The fleet as it was rendered last; the command ends where the plan has changed since, for
    the first step would bring that out too."""
    keyring = Keyring(plan)
    fleet = Fleet(plan, numbers.assign(plan, numbers.recall(plan)), keyring)
    folder = plan.beside("rendered")
    if files.compare(files.read_tree(folder), tree(fleet)):
        output.usage(
            f"{folder}: not what the plan says; want wgvx fleet render {plan.path.name}, and that "
            "brought out, first"
        )
    return fleet


def bring_out(before: Fleet, after: Fleet, remember: Callable[[], None]) -> None:
    """Write the steps, then have the new state remembered, then render it; say what to do."""
    plan = after.plan
    found = rollout.steps(
        {node.name: node for node in before.nodes()}, {node.name: node for node in after.nodes()}
    )
    wanted = tree(after)
    rollout.write(plan, found)
    remember()
    files.write_tree(plan.beside("rendered"), wanted)
    output.line(rollout.order(plan, found).rstrip("\n"))

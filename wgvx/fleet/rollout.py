"""From one state of a fleet to another, step by step, so that traffic goes on meanwhile.

    1-announce   who will have a new peer learns its key, and sends nothing there yet
    2-switch     new keys and new ways are used; everywhere at once, where an address changes hands
    3-retire     nodes that are gone are stopped

In WireGuard an address belongs to one peer, so a new key takes over from the old one at one moment,
at either end: what is sent between the two moments is lost. That is the time that the second step
takes. The first one is why it is no longer: the handshake under the new key succeeds at once, and
without it would be tried again after five seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from wgvx.fleet.files import File, write_tree
from wgvx.fleet.nodes import Node, Peer
from wgvx.fleet.plan import Plan
from wgvx.fleet.render import node_files


@dataclass(frozen=True, slots=True)
class Step:
    """Nodes that change together; the next step begins when all have."""

    name: str
    nodes: dict[str, Node]
    """By site: what each becomes."""
    todo: tuple[str, ...]
    """For whoever does it, line by line."""


def steps(before: Mapping[str, Node], after: Mapping[str, Node]) -> list[Step]:
    """What leads from one state to another; nothing where they are the same."""
    announced = {
        name: announcing
        for name, node in before.items()
        if name in after and (announcing := _announcing(node, after[name])) != node
    }
    switched = {
        name: node for name, node in after.items() if node != announced.get(name, before.get(name))
    }
    gone = [name for name in before if name not in after]
    found = []
    if announced:
        found.append(
            Step(
                "1-announce",
                announced,
                (f"in any order, one by one or together: {_names(announced)}",),
            )
        )
    if switched:
        found.append(Step("2-switch", switched, tuple(_switching(before, switched))))
    if gone:
        found.append(
            Step("3-retire", {}, (f"stop these, and delete their files: {', '.join(gone)}",))
        )
    return found


def _announcing(node: Node, later: Node) -> Node:
    """A node that knows its later peers too, but routes nothing to them."""
    known = {peer.public_key for peer in node.peers}
    new = tuple(_quiet(peer) for peer in later.peers if peer.public_key not in known)
    return replace(node, peers=node.peers + new)


def _quiet(peer: Peer) -> Peer:
    # A keepalive would call somebody who does not have the key yet.
    return replace(peer, name=f"{peer.name} (next)", allowed_ips=(), keepalive=0)


def _switching(before: Mapping[str, Node], switched: Mapping[str, Node]) -> Iterator[str]:
    for name, node in switched.items():
        old = before.get(name)
        if node.private_key is None and old is not None and old.public_key != node.public_key:
            folder = node.kind.folder
            yield f"on {name}: mv {folder}/{name}.next.key {folder}/{name}.key"
    if any(_moved(before[name], node) for name, node in switched.items() if name in before):
        yield f"together, as closely as can be: {_names(switched)}"
    else:
        yield f"in any order, one by one or together: {_names(switched)}"


def _moved(old: Node, new: Node) -> bool:
    """Whether something that led to one peer leads to another: both ends have to agree on that."""
    owner = {prefix: peer.public_key for peer in old.peers for prefix in peer.allowed_ips}
    return old.public_key != new.public_key or any(
        owner.get(prefix, peer.public_key) != peer.public_key
        for peer in new.peers
        for prefix in peer.allowed_ips
    )


def _names(nodes: Mapping[str, Node]) -> str:
    return ", ".join(nodes)


def order(plan: Plan, found: list[Step]) -> str:
    """The steps in words."""
    lines = []
    for step in found:
        lines.append(f"{step.name}:")
        if step.nodes:
            lines.append(f"  bring out {plan.beside('rollout').name}/{step.name}/")
        lines += (f"  {line}" for line in step.todo)
    return "".join(f"{line}\n" for line in lines)


def write(plan: Plan, found: list[Step]) -> None:
    """A folder for each step, with the files of the nodes that change in it; an earlier rollout
    goes."""
    tree = {"order.txt": File(order(plan, found))}
    for step in found:
        for node in step.nodes.values():
            tree.update(
                (f"{step.name}/{path}", file) for path, file in node_files(node, plan.image)
            )
    write_tree(plan.beside("rollout"), tree)

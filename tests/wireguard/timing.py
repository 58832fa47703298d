"""What the timer tests share: a pair with nothing left to say, and when a node spoke."""

from __future__ import annotations

from tests.support.engines import SECOND, START, Node, Wire, connected

INITIATION, TRANSPORT = 1, 4


def initiations(wire: Wire, node: Node) -> list[int]:
    """When a node sent initiations, in nanoseconds since the start."""
    return [sent.at - START for sent in wire.sent_by(node, INITIATION)]


def keepalives(wire: Wire, node: Node) -> list[int]:
    """When a node sent keepalives, in nanoseconds since the start."""
    return [sent.at - START for sent in wire.sent_by(node, TRANSPORT) if len(sent.data) == 32]


def quiet_pair() -> tuple[Wire, Node, Node]:
    """Connected, ``a`` as initiator at second 0; 20 seconds on, nothing waits for an answer."""
    wire, a, b = connected()
    b.send(a)
    wire.run(20 * SECOND)
    wire.sent.clear()
    return wire, a, b

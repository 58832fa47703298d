"""Nodes with loop detection and their LANs, as far as probes see them: who is joined to whom.

Each node has one port, on a LAN of its own; all of them are VTEPs of each other.
"""

from __future__ import annotations

from collections import deque

from wgvx.quiet.feature import Surroundings
from wgvx.quiet.loops import LoopDetection
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.vtep import Forwarding

PORT = 1
SECOND = 1_000_000_000
STEP = SECOND // 10
FRAMES = 1000
"""More in one step are a storm that nothing ends."""


class Node:
    """One node, and what its data plane would do."""

    def __init__(self, lans: Lans, number: int, identity: bytes | None) -> None:
        self._lans = lans
        self.address = bytes((10, 254, 0, number))
        self.blocked: set[int] = set()
        self.blockings = 0
        self.said: list[str] = []
        self.forgot: list[int | bytes] = []
        self.is_deaf = False
        self.is_down = False
        self.lan = {self}
        """Those whose ports are on ours."""
        self.feature: LoopDetection | None = None
        if identity is not None:
            around = Surroundings(
                vni=1,
                bridge=self,  # type: ignore[arg-type] # no groups
                ports={PORT: None},
                ageing=lambda: 0,
                identity=identity,
                random=lambda length: bytes((number,)) * length,
                port_name=str,
                say=self.said.append,
            )
            self.feature = LoopDetection(around)

    def set_blocked(self, port: int, blocked: bool) -> None:
        """As the data plane's."""
        (self.blocked.add if blocked else self.blocked.discard)(port)
        self.blockings += blocked

    def forget_port(self, port: int) -> None:
        """As the data plane's."""
        self.forgot.append(port)

    def fdb_flush(self, _: int, vtep: bytes) -> None:
        """As the data plane's."""
        self.forgot.append(vtep)

    def send_frame(self, _: int, to: Forwarding, frame: bytes, __: int) -> None:
        """As the data plane's, to ports."""
        assert to == Forwarding((PORT,), ())
        self._lans.onto_lan(self, frame)

    def forward_frame(self, _: int, origin: Local | Remote, frame: bytes, __: int) -> None:
        """As the data plane's."""
        if isinstance(origin, Local):
            self._lans.into_tunnels(self, frame)
        elif PORT not in self.blocked:
            self._lans.onto_lan(self, frame)

    def take(self, origin: Local | Remote, frame: bytes, now: int) -> None:
        """A frame came from the LAN or from a VTEP."""
        if self.is_down or (self.is_deaf and isinstance(origin, Remote)):
            return
        if self.feature is None:
            self.forward_frame(1, origin, frame, now)
        else:
            self.feature.handle(origin, frame, now)


class Lans:
    """All of them, and the frames that are on their way."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.now = SECOND
        self._frames: deque[tuple[Node, Local | Remote, bytes]] = deque()

    def node(self, identity: bytes | None) -> Node:
        """Another; without an identity it does not detect loops."""
        node = Node(self, len(self.nodes) + 1, identity)
        self.nodes.append(node)
        return node

    def join(self, *nodes: Node) -> None:
        """Cables between their LANs."""
        for node in nodes:
            node.lan = set(nodes)

    def part(self) -> None:
        """No cables any more."""
        for node in self.nodes:
            node.lan = {node}

    def onto_lan(self, sender: Node, frame: bytes) -> None:
        """Out of a node's port."""
        self._frames.extend((node, Local(PORT), frame) for node in sender.lan - {sender})

    def into_tunnels(self, sender: Node, frame: bytes) -> None:
        """To all other VTEPs."""
        others = (node for node in self.nodes if node is not sender)
        self._frames.extend((node, Remote(sender.address), frame) for node in others)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + int(seconds * SECOND)
        while self.now < until:
            self.now += STEP
            for node in self.nodes:
                feature = node.feature
                if feature is not None and not node.is_down:
                    deadline = feature.next_deadline()
                    if deadline is not None and self.now >= deadline:
                        feature.expire(self.now)
            for _ in range(FRAMES):
                if not self._frames:
                    break
                node, origin, frame = self._frames.popleft()
                node.take(origin, frame, self.now)
            self._frames.clear()

    def loops(self) -> bool:
        """Whether a broadcast that someone's LAN sends comes back to it by the tunnels."""
        return any(sum(PORT not in node.blocked for node in some.lan) > 1 for some in self.nodes)

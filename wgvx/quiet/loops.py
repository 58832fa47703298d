"""Loop detection: a frame that we send out of a port must not come back to us.

The loop that happens is made of two sites whose LANs are bridged to their nodes, and joined by a
cable as well; or of two nodes, or two ports of one, on the same LAN. Nothing in VXLAN counts hops,
so the first broadcast goes round for ever. Every two seconds a probe
(:mod:`wgvx.quiet.loop_probe`) leaves by each port, to that port's LAN alone. It passes blocked
ports, and whoever detects loops looks at it before anything else is done with a frame.

- **Our own comes back**, from a VTEP or at a port: there is a loop, and the port that it left by is
  blocked, for everything but probes. If it came in at another port of ours, the later of both is.
- **Others'** are carried on like any multicast, each time with one hop less, and with our identity
  in them if it is the greatest so far; but not from a blocked port, nor to one. We do nothing else
  about them: who made them cannot be checked.
- **One blocked port opens a loop.** Of all that find it, each network of a node for itself, the one
  with the greatest identity blocks at once. The others know of it by the ``carrier`` in what comes
  back: they wait, and block only if that goes on. Where whoever carried it does not detect loops,
  like the kernel's VXLAN device, there is nobody to wait for.
- **A blocked port goes on probing**, and is opened when nothing has come back for a while: three
  probes at first, twice as long each time that the loop is soon there again, five minutes at most.
  So when the way through the other node fails, this one is used again.
- **Stations have moved**, all at once, when a port is blocked, or when others' probes are heard on
  a port no more: what was learned there is forgotten, and the other VTEPs are told to forget what
  they have learned from us, as with spanning tree's topology change. The tunnel vouches for us.
- **No loop, and not taken for one**: a redundant link that spanning tree keeps closed, as no frame
  passes it; several networks on one LAN, as long as what leaves by one does not come back to it.
- **Not found**: a loop through a bridge that forwards broadcasts but not our group. Nothing is
  worse for it. A probe may be lost in a storm; there will be others.

A probe counts as ours by its tag, under a key that is drawn when detection is switched on and never
leaves the node; and only one of the last three, so what was recorded is worth nothing later. What a
station can do with a fresh one is in docs/threat-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from zlib import crc32

from wgvx.quiet import loop_probe
from wgvx.quiet.feature import Feature, Surroundings
from wgvx.quiet.loop_probe import Probe
from wgvx.vxlan.bucket import Bucket
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.limits import VTEP_SLOTS
from wgvx.vxlan.vtep import Forwarding
from wgvx.vxlan.watch import Watch

_SECOND = 1_000_000_000
INTERVAL = 2 * _SECOND
"""Between two probes of a port; a little more, so that nodes which start together part."""
FRESH = 3
"""So many of the last probes of a port count."""
WAIT = 3 * INTERVAL
"""For the other node to block, where it is its turn."""
SHORTEST_HOLD = 7 * _SECOND
LONGEST_HOLD = 300 * _SECOND
"""How long nothing must have come back before a port is opened."""
MOVES_A_SECOND = 10
"""Of other VTEPs' stations, that are heeded."""
MOVES_OF_ONE = 2
"""Of those VTEPs that have one hash: one that tells of moves all the time takes no other's turn."""
RELAPSE = 2 * LONGEST_HOLD
"""A port that is blocked again within that was opened too early."""


@dataclass(slots=True)
class _PortState:
    """What is known of one port."""

    sequence: int = 0
    """Of its last probe."""
    others: int | None = None
    """When others' probes were last heard on it."""
    since: int = 0
    """When the first of those came back that have come back ever since."""
    heard: int | None = None
    """When the last one did."""
    is_blocked: bool = False
    blocked_at: int = 0
    way: str = ""
    """By which way the probe came back."""
    hold: int = 0
    opened: int | None = None


class LoopDetection(Feature):
    """One network's."""

    name = "loop_detection"
    kinds = Watch.PROBES

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._key = around.random(32)
        self._identity = around.identity[:5] + around.vni.to_bytes(3, "big")
        self._interval = INTERVAL + around.identity[0] * 1_000_000
        self._due = 0
        self._ports: dict[int, _PortState] = {}
        self._sent = 0
        self._returned = 0
        self._ignored = 0
        self._blockings = 0
        self._moves = Bucket()
        self._moves_of = [Bucket() for _ in range(VTEP_SLOTS)]

    def handle(self, origin: Local | Remote, frame: bytes, now: int) -> bool:
        """A probe. It is ours, or goes on changed, or not at all: it is always dealt with."""
        probe = loop_probe.parse(frame)
        if loop_probe.is_moved(frame):
            self._forget(origin, now)
        elif probe is None:
            self._ignored += 1
        elif probe.is_made_with(self._key):
            self._came_back(probe, origin, now)
        else:
            self._carry(probe, origin, frame, now)
        return True

    def next_deadline(self) -> int | None:
        """When to probe next."""
        return self._due

    def expire(self, now: int) -> None:
        """Probe, and open the ports that nothing came back to."""
        self._due = now + self._interval
        for port in self._around.ports:
            state = self._ports.setdefault(port, _PortState())
            if state.is_blocked and now - (state.heard or 0) >= state.hold:
                self._open(port, state, now)
            if state.others is not None and now - state.others > WAIT:
                state.others = None
                self._tell_moved(port, now)
            state.sequence += 1
            self._sent += 1
            frame = self._probe(port, state)
            around = self._around
            around.bridge.send_frame(around.vni, Forwarding((port,), ()), frame, now)

    def close(self, now: int) -> None:  # noqa: ARG002
        """Open all ports."""
        for port, state in self._ports.items():
            if state.is_blocked:
                self._around.bridge.set_blocked(port, False)

    def show(self, now: int) -> dict[str, Any]:
        """The ports that are blocked, for how many seconds and why; what was counted."""
        blocked = [
            {
                "port": self._around.port_name(port),
                "seconds": (now - state.blocked_at) // _SECOND,
                "way": state.way,
            }
            for port, state in self._ports.items()
            if state.is_blocked
        ]
        return {
            "blocked": blocked,
            "blocked_ports": len(blocked),
            "blockings": self._blockings,
            "probes_sent": self._sent,
            "probes_returned": self._returned,
            "probes_ignored": self._ignored,
        }

    def _probe(self, port: int, state: _PortState) -> bytes:
        probe = Probe(self._around.vni, port, state.sequence, self._identity)
        return loop_probe.frame(probe, self._key)

    def _carry(self, probe: Probe, origin: Local | Remote, frame: bytes, now: int) -> None:
        here = self._ports.get(origin.port) if isinstance(origin, Local) else None
        if probe.hops <= 1 or (here is not None and here.is_blocked):
            self._ignored += 1
            return
        if here is not None:
            here.others = now
        around = self._around
        onward = loop_probe.carried(frame, probe, self._identity)
        around.bridge.forward_frame(around.vni, origin, onward, now)

    def _came_back(self, probe: Probe, origin: Local | Remote, now: int) -> None:
        left_by = self._ports.get(probe.port)
        if left_by is None or probe.sequence <= left_by.sequence - FRESH:
            self._ignored += 1
            return
        self._returned += 1
        port = max(probe.port, origin.port) if isinstance(origin, Local) else probe.port
        state = self._ports.setdefault(port, _PortState())
        if state.heard is None or now - state.heard > WAIT:
            state.since = now
        state.heard = now
        theirs = probe.carrier > self._identity
        if not state.is_blocked and (not theirs or now - state.since >= WAIT):
            self._block(port, state, self._way(probe.port, origin), now)

    def _tell_moved(self, port: int, now: int) -> None:
        around = self._around
        around.bridge.forget_port(port)
        told = loop_probe.moved(self._probe(port, self._ports[port]))
        around.bridge.forward_frame(around.vni, Local(port), told, now)

    def _forget(self, origin: Local | Remote, now: int) -> None:
        """A VTEP says that its stations have moved. On a LAN anybody could."""
        if isinstance(origin, Remote) and self._may_forget(origin.vtep, now):
            self._around.bridge.fdb_flush(self._around.vni, origin.vtep)
        else:
            self._ignored += 1

    def _may_forget(self, vtep: bytes, now: int) -> bool:
        own = self._moves_of[crc32(vtep) % VTEP_SLOTS]
        if not own.take(MOVES_OF_ONE, 1, now):
            return False
        return self._moves.take(MOVES_A_SECOND, 1, now) == 1

    def _block(self, port: int, state: _PortState, way: str, now: int) -> None:
        relapsed = state.opened is not None and now - state.opened < RELAPSE
        state.hold = min(2 * state.hold, LONGEST_HOLD) if relapsed else SHORTEST_HOLD
        state.is_blocked = True
        state.others = None
        state.blocked_at = now
        state.way = way
        self._blockings += 1
        around = self._around
        around.bridge.set_blocked(port, True)
        self._tell_moved(port, now)
        around.say(
            f"network {around.vni}: a loop: {way}; {self._called(port)} is blocked until that ends"
        )

    def _open(self, port: int, state: _PortState, now: int) -> None:
        state.is_blocked = False
        state.opened = now
        around = self._around
        around.bridge.set_blocked(port, False)
        around.say(
            f"network {around.vni}: no loop any more for {state.hold // _SECOND} s: "
            f"{self._called(port)} is open again"
        )

    def _way(self, port: int, origin: Local | Remote) -> str:
        left = f"what leaves by {self._called(port)} comes back"
        if isinstance(origin, Remote):
            return f"{left} from VTEP {ip_address(origin.vtep)}"
        return f"{left} there" if origin.port == port else f"{left} at {self._called(origin.port)}"

    def _called(self, port: int) -> str:
        mac = self._around.ports.get(port)
        name = self._around.port_name(port)
        return f"{name} ({mac.hex(':')})" if mac else name

"""Tunnel packets made by hand: sent through a real tunnel, and those that come out of one.

wireguard-go carries them, whose TUN lets any packet in and out: the ends of its tunnels get exactly
these bytes, and what they send is seen as they made it.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from interop.matches import DATAPLANES, GO, KERNEL
from interop.pair import MakeFar
from interop.peers import Far
from interop.sites import make_mesh, recordings, vtep
from tests.netns.lab import Lab
from tests.netns.nodes import FLOOD_MAC, VNI, WgvxNode, tunnel_address
from tests.netns.traffic import assert_ping, mac_bytes
from tests.netns.vxlan_nodes import GoNode, VxlanNode

VXLAN_PORT = 4789
FLAG_I = 0x08
KINDS = (KERNEL, GO, *DATAPLANES)
OURS = frozenset(DATAPLANES)
LINUX = frozenset((KERNEL, GO))
EVERYWHERE = frozenset(KINDS)
NOWHERE_INDEX = 77
"""Nobody has the tunnel address of this index."""

TO = "02:c0:de:00:00:01"
"""Whom frames made by hand are for: nobody."""
FROM = "02:c0:de:00:00:02"


NOT_ECT, ECT_1, ECT_0, CE = range(4)
# RFC 6040, figure 4: inner -> what it becomes by the outer; -1: dropped.
DECAPSULATED = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT_1: NOT_ECT, ECT_0: NOT_ECT, CE: -1},
    ECT_1: {NOT_ECT: ECT_1, ECT_1: ECT_1, ECT_0: ECT_1, CE: CE},
    ECT_0: {NOT_ECT: ECT_0, ECT_1: ECT_1, ECT_0: ECT_0, CE: CE},
    CE: {NOT_ECT: CE, ECT_1: CE, ECT_0: CE, CE: CE},
}
# Linux: CE goes out as ECT(0), so that a mark seen at the end was made on the way.
ENCAPSULATED = {NOT_ECT: NOT_ECT, ECT_1: ECT_1, ECT_0: ECT_0, CE: ECT_0}
EXPEDITED = 46 << 2
"""A DSCP, where a TOS has it."""


def inner(
    tos: int, version: int, *, tagged: bool = False, port: int = 1111, payload: bytes = b"within"
) -> bytes:
    """A frame with a packet of IP in it."""
    head = Ether(dst=TO, src=FROM)
    if tagged:
        head = head / Dot1Q(vlan=5, prio=3)
    packet = (
        IP(src="10.9.0.1", dst="10.9.0.2", tos=tos)
        if version == 4
        else IPv6(src="fd00:9::1", dst="fd00:9::2", tc=tos)
    )
    return bytes(head / packet / UDP(sport=port, dport=9) / Raw(payload))


def vxlan(vni: int = VNI, *, flags: int = FLAG_I, turned: int = 0) -> bytes:
    """A VXLAN header, some of its 64 bits turned over."""
    return struct.pack(">Q", (flags << 56 | vni << 8) ^ turned)


@dataclass(frozen=True)
class Case:
    """A tunnel packet, and what comes of it."""

    packet: Callable[[Far], Packet | bytes]
    """By whom it is for."""
    arrives: bytes | None
    """The frame as it leaves the tunnel's end, None: it does not."""
    reason: str | None = None
    """Why we drop it."""
    at: Collection[str] = EVERYWHERE
    """Where it arrives so."""
    elsewhere: bytes | None = None
    """What arrives at the other ends."""

    def outcome(self, kind: str) -> bytes | None:
        return self.arrives if kind in self.at else self.elsewhere


class Bench:
    """Four ends, two of the kernel's VXLAN and two of ours, and one end that makes packets.

    All are in one Layer 2, which has more VNIs: ``more`` names each with its settings, as wgvx
    takes them and as ``ip link`` does.
    """

    def __init__(
        self,
        lab: Lab,
        make_far: MakeFar,
        overlay: int,
        more: dict[int, tuple[dict[str, object], tuple[str, ...]]],
    ) -> None:
        self.overlay = overlay
        self._more = more
        crafter, *self.ends = make_mesh(
            lab, make_far, GO, *KINDS, overlay=overlay, prepare=self._add_networks
        )
        assert isinstance(crafter, GoNode)
        self.crafter = crafter
        self.by_kind = dict(zip(KINDS, self.ends, strict=True))
        self.nowhere = tunnel_address(NOWHERE_INDEX, overlay)
        for end in self.ends:
            assert_ping(crafter.place, vtep(end), count=1)

    def _add_networks(self, nodes: list[Far]) -> None:
        for node, (vni, (ours, linux)) in itertools.product(nodes[1:], self._more.items()):
            device = f"vx{vni}"
            if isinstance(node, WgvxNode):
                node.networks.append({"vni": vni, "tap": device, **ours})
                continue
            node.add_vxlan(device, vni, "dstport", str(VXLAN_PORT), *linux)
            for other in nodes[1:]:
                if other is not node:
                    remote = ("dst", vtep(other), "dev", device)
                    node.place.run("bridge", "fdb", "append", FLOOD_MAC, *remote)

    @property
    def ours(self) -> list[WgvxNode]:
        return [end for end in self.ends if isinstance(end, WgvxNode)]

    @property
    def linux(self) -> list[VxlanNode]:
        return [end for end in self.ends if isinstance(end, VxlanNode)]

    def device(self, end: Far, vni: int) -> str:
        """An end's interface of a network."""
        return end.tap if vni == VNI else f"vx{vni}"

    def known(self, end: Far, vni: int) -> dict[str, str | None]:
        """An end's table of a network: MAC -> VTEP, None for its own side."""
        if isinstance(end, WgvxNode):
            return {row["mac"]: row["vtep"] for row in end.fdb() if row["vni"] == vni}
        return {row["mac"]: row["dst"] for row in end.fdb(self.device(end, vni))}

    def ip(self, to: Far, *, source: str | None = None, tos: int = 0) -> Packet:
        """A header of a tunnel packet, for a payload to follow."""
        source = source or vtep(self.crafter)
        if self.overlay == 6:
            return IPv6(src=source, dst=vtep(to), tc=tos)
        return IP(src=source, dst=vtep(to), tos=tos)

    def made(self, payload: bytes, *, tos: int = 0, **udp: int) -> Callable[[Far], Packet]:
        """The same tunnel packet, whoever it is for; see :meth:`packet`."""
        return lambda end: self.packet(end, payload, source=None, tos=tos, **udp)

    def packet(
        self, to: Far, payload: bytes, *, source: str | None = None, tos: int = 0, **udp: int
    ) -> Packet:
        """A whole tunnel packet; ``udp`` are fields of its UDP header."""
        head = UDP(sport=50000, dport=VXLAN_PORT)
        for field, value in udp.items():
            setattr(head, field, value)
        return self.ip(to, source=source, tos=tos) / head / Raw(payload)

    def send(self, packets: Iterable[bytes]) -> None:
        """Into the tunnels, in order."""
        kind = 0x0800 if self.overlay == 4 else 0x86DD
        sender = self.crafter.host.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        with contextlib.closing(sender):
            for packet in packets:
                sender.sendto(packet, (self.crafter.name, kind))

    def check(self, cases: Sequence[Case], *, vni: int = VNI) -> None:
        """Each end gets each packet, and delivers what it should; ours count the others."""
        before = self._drops()
        with recordings(self.ends, [self.device(end, vni) for end in self.ends]) as arrived:
            for end in self.ends:
                self.send(bytes(case.packet(end)) for case in cases)
        for kind, received in zip(KINDS, arrived, strict=True):
            frames = [frame for frame in received if frame[:6] == mac_bytes(TO)]
            outcomes = [case.outcome(kind) for case in cases]
            # Sorted, as flows that are joined into larger packets may overtake each other.
            wanted = sorted(made for made in outcomes if made is not None)
            assert sorted(frames) == wanted, kind
        reasons = Counter(case.reason for case in cases if case.reason)
        for kind, after in self._drops().items():
            assert after - before[kind] == reasons, kind

    def _drops(self) -> dict[str, Counter[str]]:
        return {
            kind: Counter(end.show()["drops"])
            for kind, end in self.by_kind.items()
            if isinstance(end, WgvxNode)
        }

"""Nobody can tell: what wgvx sends is held against what the kernel sends in its place.

Two runs of one script, the roles changed: once wgvx calls kernel WireGuard, once it is called. Who
was first in one run is compared with who was first in the other, message by message, as a passer-by
and, with our key log, as the peer sees them.

What differs, and why:

- VXLAN's source ports are from 49152 to 65535, as RFC 7348 recommends; Linux takes its range for
  local ports, 32768 to 60999.
- IPv4's identification inside the tunnel counts up from 1; Linux begins anywhere. Outside the
  tunnel it is the kernel's own in both cases.
- wgvx announces its overlay addresses when it starts (gratuitous ARP, unsolicited advertisement).
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from interop.capture import DATA, GOOD, Capture, Packet
from interop.matches import DATAPLANES, KERNEL, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import Far
from tests.netns.lab import Lab
from tests.netns.nodes import WgvxNode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

KEYS = "keys"
TUNNEL_MTU = 1420
OVERLAY_MTU = {4: 1370, 6: 1350}
"""By the family of the tunnel: its packets may be full, where padding to 16 bytes must stop."""


@dataclass(frozen=True)
class Run:
    """A pair whose cable was watched."""

    pair: Pair
    capture: Capture

    def sent_by(self, node: Far) -> list[Packet]:
        keys = self.pair.ours.host.folder / KEYS
        addresses = node.id.address.values()
        return [p for p in self.capture.packets(keys) if p.outer.source in addresses]


def watched(
    lab: Lab, make_far: MakeFar, match: Match, *, underlay: int = 4, overlay: int = 4
) -> Run:
    """A pair with IPv4 alone on the overlay, so that nobody says anything unasked."""
    captures: list[Capture] = []

    def prepare(ours: WgvxNode) -> None:
        captures.append(Capture(*lab.hosts))
        captures[0].start()
        ours.networks[0]["address"] = ours.networks[0]["address"][:1]

    pair = make_pair(
        lab,
        match,
        make_far,
        underlay=underlay,
        overlay=overlay,
        mtus=(TUNNEL_MTU, OVERLAY_MTU[overlay]),
        options=("--key-log", KEYS),
        prepare=prepare,
    )
    for node in (pair.ours, pair.theirs):
        node.place.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{node.tap}/disable_ipv6")
    return Run(pair, captures[0])


# --- what is sent -------------------------------------------------------------------------------


def shape(packet: Packet) -> dict[str, object]:
    """All that must be alike. Free are keys, indices, and what docs list above."""
    outer, tunnel = packet.outer, packet.tunnel
    told: dict[str, object] = {
        "kind": packet.kind,
        "length": outer.length,
        "tos": outer.tos,
        "df": outer.df,
        "ttl": outer.ttl,
        "flow label": outer.flow_label,
        "ports": (outer.source_port, outer.destination_port),
        "checksum": outer.checksum_status,
        "counter": packet.counter,
    }
    if tunnel is not None:
        told |= {
            "padding": packet.padding,
            "tunnel tos": tunnel.tos,
            "tunnel df": tunnel.df,
            "tunnel ttl": tunnel.ttl,
            "tunnel flow label": tunnel.flow_label,
            "tunnel checksum": tunnel.checksum_status,
            "tunnel port": tunnel.destination_port,
            "vxlan": (packet.vxlan_flags, packet.vxlan_reserved, packet.vni),
            "what": packet.info.partition(" id=")[0].partition(" ")[2],
        }
    return told


def script(pair: Pair, most: int) -> None:
    """The first end calls and talks, the second one answers. ``most`` fits into a ping."""
    first, second = pair.first, pair.second
    ping = ("ping", "-n", "-c", "1", "-W", "5")
    first.place.run(*ping, second.address[4])
    for size in (0, 1, 18, 56, 57, 1000, most - 9, most - 1, most):
        first.place.run(*ping, "-s", str(size), second.address[4])
    for tos in (0x01, 0x02, 0x03, 0xB8, 0xBA):  # ECN alone, DSCP alone, both
        first.place.run(*ping, "-Q", str(tos), second.address[4])
    for df in ("do", "want", "dont"):
        first.place.run(*ping, "-M", df, second.address[4])


def told(run: Run, node: Far) -> list[dict[str, object]]:
    """What a node sent, without what it may say unasked: address resolution after some seconds, and
    our announcement, which comes first and shifts the counters.
    """
    packets = [p for p in run.sent_by(node) if p.protocol not in ("ARP", "ICMPv6")]
    shapes = [shape(packet) for packet in packets]
    counters = [packet.counter for packet in run.sent_by(node) if packet.kind == DATA]
    assert counters == list(range(len(counters)))
    for one in shapes:
        one.pop("counter")
    return shapes


@pytest.mark.parametrize("overlay", [4, 6])
@pytest.mark.parametrize("underlay", [4, 6])
@pytest.mark.parametrize("dataplane", DATAPLANES)
def test_each_message_is_as_the_kernels(
    tmp_path_factory: pytest.TempPathFactory,
    make_far: MakeFar,
    dataplane: str,
    underlay: int,
    overlay: int,
) -> None:
    runs: list[tuple[list[dict[str, object]], list[dict[str, object]]]] = []
    for caller in ("wgvx", "far"):
        lab = Lab(tmp_path_factory.mktemp(caller))
        try:
            match = Match(KERNEL, caller, dataplane)
            run = watched(lab, make_far, match, underlay=underlay, overlay=overlay)
            script(run.pair, OVERLAY_MTU[overlay] - 28)
            run.capture.stop()
            runs.append((told(run, run.pair.first), told(run, run.pair.second)))
        finally:
            lab.close()
    (our_call, their_answer), (their_call, our_answer) = runs
    for ours, kernels in ((our_call, their_call), (our_answer, their_answer)):
        assert len(ours) > 15
        assert all(one["checksum"] == GOOD for one in (*ours, *kernels))
        for one, other in zip(ours, kernels, strict=True):
            assert one == other

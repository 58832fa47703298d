"""wgvx and one other implementation on one cable: what most scenarios begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from interop.matches import Match
from interop.peers import Far
from tests.netns.lab import Lab, Namespace
from tests.netns.nodes import WgvxNode
from tests.netns.vxlan_nodes import IPV6_MINIMUM_MTU

MakeFar = Callable[..., Far]
"""(kind, host, label, **options of the node): a node of that kind on a host of the lab."""

TUNNEL_MTU, OVERLAY_MTU = 1420, 1350
OUTER_OVERHEAD, OVERLAY_OVERHEAD = 80, 70
"""What wgvx takes off an underlay's MTU for the tunnel's, and off that for the overlay's."""


@dataclass(frozen=True)
class Pair:
    """Both ends, running. ``first`` is the one that knew the other's endpoint and called."""

    lab: Lab
    ours: WgvxNode
    theirs: Far
    match: Match

    @property
    def first(self) -> Far:
        return self.ours if self.match.caller == "wgvx" else self.theirs

    @property
    def second(self) -> Far:
        return self.theirs if self.match.caller == "wgvx" else self.ours

    @property
    def ways(self) -> tuple[tuple[Far, Far], tuple[Far, Far]]:
        """Each end with the other one."""
        return (self.ours, self.theirs), (self.theirs, self.ours)


def make_pair(
    lab: Lab,
    match: Match,
    make_far: MakeFar,
    *,
    underlay: int = 4,
    overlay: int = 4,
    psks: tuple[str | None, str | None] = (None, None),
    mtus: tuple[int, int] | None = None,
    underlay_mtu: int = 1500,
    keepalives: tuple[int | None, int | None] = (None, None),
    options: tuple[str, ...] = (),
    prepare: Callable[[WgvxNode], None] | None = None,
    join: Callable[[Lab, Namespace, Namespace], object] | None = None,
) -> Pair:
    """Both running; only the caller knows the other's endpoint, so it must send message 1.

    ``psks`` and ``keepalives`` are ours and theirs. ``mtus`` are tunnel and overlay MTU; left out,
    wgvx finds them itself (where it calls: by the route) and the far end is told the same, 1420
    and 1350 on a cable of 1500. ``options`` are more of ``wgvx up``, ``prepare`` may change our
    configuration. ``join`` puts something else than a cable between the hosts.
    """
    hosts = lab.host("w"), lab.host("f")
    if join is None:
        lab.lan(*hosts, mtu=underlay_mtu)
    else:
        join(lab, *hosts)
    ours = WgvxNode(hosts[0], "w", 1, overlay=overlay)
    tunnel_mtu = underlay_mtu - OUTER_OVERHEAD
    tunnel_mtu, overlay_mtu = mtus or (tunnel_mtu, tunnel_mtu - OVERLAY_OVERHEAD)
    theirs = make_far(
        match.far, hosts[1], "f", overlay=overlay, tunnel_mtu=tunnel_mtu, mtu=overlay_mtu
    )
    for node in (ours, theirs):
        if isinstance(node, WgvxNode):
            if mtus is not None or node is theirs:
                node.node["mtu"] = tunnel_mtu
                node.networks[0]["mtu"] = overlay_mtu
            if overlay_mtu < IPV6_MINIMUM_MTU:
                node.networks[0]["address"] = [f"{node.address[4]}/24"]
    ours_calls = match.caller == "wgvx"
    ours.add_peer(
        theirs.id,
        underlay=underlay if ours_calls else None,
        psk=psks[0],
        persistent_keepalive=keepalives[0],
    )
    if prepare is not None:
        prepare(ours)

    def start_theirs() -> None:
        # Of the others only what runs can be told of peers.
        if not isinstance(theirs, WgvxNode):
            theirs.start()
        theirs.add_peer(
            ours.id,
            underlay=None if ours_calls else underlay,
            psk=psks[1],
            persistent_keepalive=keepalives[1],
        )
        if isinstance(theirs, WgvxNode):
            theirs.start("--dataplane", match.dataplane)

    # The caller comes last: each calls as soon as it can, and where nobody answers the next try is
    # REKEY_TIMEOUT later.
    if ours_calls:
        start_theirs()
    ours.start("--dataplane", match.dataplane, *options)
    if not ours_calls:
        start_theirs()
    return Pair(lab, ours, theirs, match)

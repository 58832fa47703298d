"""What a node keeps, laid open: for tests that say what must not have changed."""

from __future__ import annotations

from typing import Any

from tests.support.engines import VNI, Node
from wgvx.dataplane.peer import PeerState
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.drops import Reason
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.peer import Peer


def dataplane(node: Node) -> ReferenceDataPlane:
    """The node's data plane, which these tests know to be the reference one."""
    assert isinstance(node.engine.dataplane, ReferenceDataPlane)
    return node.engine.dataplane


def packet_side(node: Node, other: Node) -> PeerState:
    """What ``node``'s data plane keeps of ``other``."""
    return dataplane(node)._peers[node.peer(other).id]


def handshake_side(node: Node, other: Node) -> Peer:
    """What ``node``'s handshake side keeps of ``other``."""
    return node.engine.device._peers[node.peer(other).id]


def current(node: Node, other: Node) -> Keypair:
    """The session that ``node`` sends to ``other`` under."""
    keypair = packet_side(node, other).slots.current
    assert keypair is not None
    return keypair


def staged(node: Node, other: Node) -> list[bytes]:
    """The packets that wait for a key, oldest first."""
    return list(packet_side(node, other)._staged)


def _session(keypair: Keypair | None) -> Any:
    if keypair is None:
        return None
    return (
        id(keypair),
        keypair.send_counter,
        keypair.may_send,
        keypair.rekey_asked,
        keypair.replay._highest,
        keypair.replay._seen,
    )


def snapshot(node: Node) -> dict[str, Any]:
    """All that a refused datagram must leave as it was: everything but the drop counters."""
    plane, device = dataplane(node), node.engine.device
    return {
        "packet side": {
            peer: (
                state.endpoint,
                state.stamps(),
                state.armed,
                (state.rx_bytes, state.tx_bytes),
                list(state._staged),
                [
                    _session(k)
                    for k in (state.slots.current, state.slots.previous, state.slots.next)
                ],
            )
            for peer, state in plane._peers.items()
        },
        "handshake side": {
            peer.id: (
                id(peer.initiated),
                peer.initiated and (peer.initiated.hash, peer.initiated.chaining_key),
                peer.greatest_timestamp,
                peer.last_initiation_accepted,
                peer.last_handshake_sent,
                peer.latest_handshake,
                (peer.cookie._cookie, peer.cookie._cookie_birth, peer.cookie._last_mac1),
                dict(peer.deadlines.due),
                peer.deadlines.attempts,
                peer.deadlines.keepalive_sent_at,
            )
            for peer in device._peers.values()
        },
        "indices": (set(plane._keypairs), set(device._initiated)),
        "prefixes": {peer: plane.allowed_ips(peer) for peer in plane._peers},
        "fdb": plane.fdb_rows(VNI, node.wire.now),
        "counters": plane.network_counters(VNI),
        "waiting": len(node.engine._queue),
        "limited": dict(device._limiter._buckets),
    }


def moved(before: dict[Reason, int], after: dict[Reason, int]) -> dict[Reason, int]:
    """The drop counters that moved, and by how much."""
    return {r: n - before.get(r, 0) for r, n in after.items() if n != before.get(r, 0)}

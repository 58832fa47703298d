"""What a running node counts, as Prometheus reads it.

Labels are bounded by the node's own configuration: its peers, networks, ports and the drop reasons.
No address or MAC that comes from outside is ever one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from wgvx import __version__

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

SHORT_KEY: Final = 8
"""Characters of a public key that tell peers apart for people: 48 bits."""


class _Of(Collector):
    """One metric, however it was made."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


def expose(metric: Metric) -> bytes:
    """A metric in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Of(metric))
    return generate_latest(registry)


def metrics(shown: Mapping[str, Any], *, cpu_seconds: float, started: float) -> Iterator[Metric]:
    """All metrics of a node, one by one, so that packets can have their turn in between.

    ``shown`` is what :func:`wgvx.control.status.show` says; ``cpu_seconds`` what the process has
    used, ``started`` when it began, in Unix seconds.
    """
    node = shown["name"]
    info = InfoMetricFamily("wgvx_node", "What serves this node.", labels=["node"])
    said = {name: shown[name] or "" for name in ("public_key", "dataplane", "aead")}
    info.add_metric([node], {"version": __version__, **said})
    yield info
    yield from _peers(node, shown["peers"])
    yield from _networks(node, shown["networks"])
    yield from _stacks(node, shown["networks"])
    yield _counters(
        *("wgvx_dropped_packets", "Packets dropped, by reason.", ["node", "reason"]),
        (([node, reason], count) for reason, count in shown["drops"].items()),
    )
    yield _gauges(
        *("wgvx_tunnel_mtu_bytes", "MTU of the tunnel.", ["node"]),
        [([node], shown["tunnel_mtu"])],
    )
    yield _gauges(
        *("wgvx_offload_active", "1 where an offload is in use.", ["node", "offload"]),
        (([node, name], on) for name, on in shown["offloads"].items()),
    )
    yield _gauges(
        *("wgvx_confined", "1 where the node has given this up.", ["node", "step"]),
        (([node, name], on) for name, on in shown["confinement"].items()),
    )
    yield _counters(
        *("process_cpu_seconds", "User and system CPU time of the node's process.", []),
        [([], cpu_seconds)],
    )
    yield _gauges(
        *("process_start_time_seconds", "When the node began, in Unix seconds.", []),
        [([], started)],
    )


def peer_labels(peers: Iterable[Mapping[str, Any]]) -> list[str]:
    """What each peer is called: its name, or the beginning of its key; where others are called the
    same, with the whole of its key. No two are called the same, for Prometheus would take nothing
    of such a node."""
    listed = [(peer["name"], peer["public_key"]) for peer in peers]
    labels = [name or key[:SHORT_KEY] for name, key in listed]
    # Once, as a rule: but a peer's name may be made like another's name and key.
    while len(often := Counter(labels)) < len(labels):
        labels = [
            label if often[label] == 1 else f"{label} {key}" if name or label == key else key
            for label, (name, key) in zip(labels, listed, strict=True)
        ]
    return labels


def _peers(node: str, peers: list[dict[str, Any]]) -> Iterator[Metric]:
    labelled = list(zip(peer_labels(peers), peers, strict=True))
    info = InfoMetricFamily("wgvx_peer", "The public key of a peer.", labels=["node", "peer"])
    for label, peer in labelled:
        info.add_metric([node, label], {"public_key": peer["public_key"]})
    yield info
    for direction, what in (("rx", "received from"), ("tx", "sent to")):
        yield _counters(
            f"wgvx_peer_{direction}_bytes",
            f"Bytes {what} a peer: whole WireGuard messages, without UDP and IP.",
            ["node", "peer"],
            (([node, label], peer[f"{direction}_bytes"]) for label, peer in labelled),
        )
    yield _gauges(
        "wgvx_peer_latest_handshake_seconds",
        "When the latest handshake was complete, in Unix seconds; 0 for never.",
        ["node", "peer"],
        (([node, label], peer["latest_handshake"]) for label, peer in labelled),
    )
    yield _gauges(
        "wgvx_peer_path_mtu_bytes",
        "The largest tunnel packet that the path to a peer is known to carry.",
        ["node", "peer"],
        (([node, label], peer["path_mtu"]) for label, peer in labelled if peer["path_mtu"]),
    )


def _networks(node: str, networks: list[dict[str, Any]]) -> Iterator[Metric]:
    labelled = [(str(network["vni"]), network) for network in networks]
    for direction, what in (("rx", "out of the tunnel"), ("tx", "into the tunnel")):
        yield _counters(
            f"wgvx_network_{direction}_frames",
            f"Frames of a network {what}.",
            ["node", "vni"],
            (([node, vni], network[f"{direction}_frames"]) for vni, network in labelled),
        )
    yield _gauges(
        "wgvx_network_fdb_entries",
        "Rows of the forwarding table, without the flood list.",
        ["node", "vni"],
        (([node, vni], network["fdb_entries"]) for vni, network in labelled),
    )
    yield _counters(
        "wgvx_network_station_moves",
        "Moves of stations from one VTEP or port to another.",
        ["node", "vni"],
        (([node, vni], network["moves"]) for vni, network in labelled),
    )
    for make, feature, seen, name, meaning in _QUIET:
        yield make(
            name,
            meaning,
            ["node", "vni"],
            (
                ([node, vni], network["quiet"][feature][seen])
                for vni, network in labelled
                if network["quiet"][feature] is not None
            ),
        )
    yield _gauges(
        "wgvx_network_mtu_bytes",
        "MTU of the overlay.",
        ["node", "vni"],
        (([node, vni], network["mtu"]) for vni, network in labelled if network["mtu"]),
    )
    yield _gauges(
        "wgvx_port_up",
        "1 where frames can leave by an attachment: 0 while its VM is not connected.",
        ["node", "vni", "port"],
        (
            ([node, vni, attach["name"]], attach["name"] not in network["down"])
            for vni, network in labelled
            for attach in network["attach"]
        ),
    )


def _stacks(node: str, networks: list[dict[str, Any]]) -> Iterator[Metric]:
    stacks = [
        ([node, str(network["vni"]), attach["name"]], attach["counters"])
        for network in networks
        for attach in network["attach"]
        if attach.get("counters")
    ]
    yield _gauges(
        "wgvx_stack_connections",
        "Connections of a userspace stack.",
        ["node", "vni", "port"],
        ((labels, counters["connections"]) for labels, counters in stacks),
    )
    yield _counters(
        "wgvx_stack_refused",
        "What a userspace stack refused or gave up, by reason.",
        ["node", "vni", "port", "reason"],
        (
            ([*labels, reason], count)
            for labels, counters in stacks
            for reason, count in counters.items()
            if reason != "connections"
        ),
    )


Samples = Iterable[tuple[list[str], float]]
"""(values of the labels, value)"""


def _counters(name: str, meaning: str, labels: list[str], samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(name, meaning, labels=labels), samples)


def _gauges(name: str, meaning: str, labels: list[str], samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(name, meaning, labels=labels), samples)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: Samples) -> Metric:
    for values, value in samples:
        family.add_metric(values, value)
    return family


_QUIET: Final = (
    (
        *(_gauges, "loop_detection", "blocked_ports", "wgvx_network_blocked_ports"),
        "Ports that are blocked because of a loop; where loop_detection is on.",
    ),
    (
        *(_counters, "loop_detection", "blockings", "wgvx_network_port_blockings"),
        "How often a port was blocked because of a loop.",
    ),
    (
        *(_counters, "loop_detection", "probes_returned", "wgvx_network_loop_probes_returned"),
        "Loop probes of this node that came back.",
    ),
    (
        *(_gauges, "snooping", "groups", "wgvx_network_groups"),
        "Multicast groups that somebody listens to; where snooping is on.",
    ),
    (
        *(_gauges, "snooping", "members", "wgvx_network_group_members"),
        "VTEPs and ports where somebody listens, of all groups together.",
    ),
    (
        *(_gauges, "suppress", "neighbours", "wgvx_network_neighbours"),
        "IP addresses whose stations are known; where suppress is on.",
    ),
    (
        *(_counters, "suppress", "answered", "wgvx_network_neighbour_answers"),
        "ARP requests and neighbor solicitations answered in place of a station far away.",
    ),
)
"""What the features of a quiet network have seen: how, whose, which, and as what it is told."""

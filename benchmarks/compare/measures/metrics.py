"""The names of all figures, what they count, and which way is better."""

from __future__ import annotations

from typing import NamedTuple

Metrics = dict[str, float | None]
"""What one turn of one contender gave; None for what could not be had."""


class Metric(NamedTuple):
    """``label`` is short, for the head of a table."""

    label: str
    unit: str
    more_is_better: bool = False


METRICS: dict[str, Metric] = {
    "tcp_mbit": Metric("TCP", "Mbit/s, one stream", True),
    "tcp_reverse_mbit": Metric("TCP back", "Mbit/s, one stream, from b to a", True),
    "tcp_cpu_s_per_gb": Metric("CPU s/GB", "s of CPU of all daemons per GB, one stream"),
    "tcp_reverse_cpu_s_per_gb": Metric("CPU s/GB back", "the same, from b to a"),
    "tcp4_mbit": Metric("TCP x4", "Mbit/s, four streams", True),
    "tcp4_reverse_mbit": Metric("TCP x4 back", "Mbit/s, four streams, from b to a", True),
    "tcp4_cpu_s_per_gb": Metric("CPU s/GB x4", "s of CPU of all daemons per GB, four streams"),
    "tcp4_reverse_cpu_s_per_gb": Metric("CPU s/GB x4 back", "the same, from b to a"),
    "udp64_kpps": Metric("UDP 64", "1,000/s, highest rate with under 1 % loss", True),
    "udp1200_kpps": Metric("UDP 1200", "1,000/s, highest rate with under 1 % loss", True),
    "ping_us": Metric("ping", "us, median, idle"),
    "ping_p99_us": Metric("ping p99", "us, 99th percentile, idle"),
    "ping_loaded_us": Metric("ping loaded", "us, median, under one TCP stream"),
    "ping_loaded_p99_us": Metric("loaded p99", "us, 99th percentile, under one TCP stream"),
    "loaded_tcp_mbit": Metric("that TCP", "Mbit/s, the stream under which was pinged", True),
    "hub_tcp_mbit": Metric("hub TCP", "Mbit/s, one stream, through a hub", True),
    "hub_tcp_cpu_s_per_gb": Metric("hub CPU s/GB", "s of CPU of all three daemons per GB"),
    "port_tcp_mbit": Metric("TCP", "Mbit/s, one stream, from a port of this kind", True),
    "port_tcp_reverse_mbit": Metric("TCP back", "Mbit/s, one stream, to such a port", True),
    "port_tcp_cpu_s_per_gb": Metric("CPU s/GB", "s of CPU of all daemons per GB"),
    "port_tcp_reverse_cpu_s_per_gb": Metric("CPU s/GB back", "the same, to such a port"),
    "flood_none_mbit": Metric("no flood", "Mbit/s, an established stream left alone", True),
    "flood_wrong_mbit": Metric("mac1 wrong", "Mbit/s, the same under forged initiations", True),
    "flood_right_mbit": Metric("mac1 right", "Mbit/s, the same, their mac1 being right", True),
    "flood_wrong_share": Metric("share, wrong", "of its own rate without a flood", True),
    "flood_right_share": Metric("share, right", "of its own rate without a flood", True),
    "flood_wrong_kpps": Metric("flood, wrong", "1,000/s, initiations really sent", True),
    "flood_right_kpps": Metric("flood, right", "1,000/s, initiations really sent", True),
    "cpu_aead_percent": Metric("AEAD %", "of the daemons' CPU time, one stream"),
    "cpu_kernel_percent": Metric("kernel %", "of the daemons' CPU time, one stream"),
    "cpu_other_percent": Metric("other %", "of the daemons' CPU time, one stream"),
    "resident_mib": Metric("memory", "MiB resident, one node, the larger end"),
    "resident_10_peers_mib": Metric("10 peers", "MiB resident, a node with 10 peers"),
}

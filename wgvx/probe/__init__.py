"""What this machine or container allows, each thing really tried."""

from __future__ import annotations

from dataclasses import dataclass

from wgvx.probe import machine, network, taps
from wgvx.probe.finding import Finding

__all__ = ["Finding", "Report", "look"]


@dataclass(frozen=True)
class Report:
    """All findings, and the ways to run a node here that follow from them."""

    findings: tuple[Finding, ...]
    ways: tuple[str, ...]


def look() -> Report:
    """Try everything; takes about a second and leaves nothing behind."""
    udp = network.udp()
    in_place, apart = taps.attempt(rootless=False), taps.attempt(rootless=True)
    here, rootless = taps.here(in_place), taps.rootless(apart)
    findings = (
        machine.python(),
        udp,
        network.ipv6(),
        taps.tun_node(),
        here,
        rootless,
        *taps.features(in_place if here.ok else apart),
        network.udp_segment(),
        network.udp_gro(),
        machine.uvloop(),
        *machine.native(),
        machine.wg_tool(),
        machine.state_folder(),
        machine.control_folder(),
    )
    ways = []
    if udp.ok and here.ok:
        ways.append("`wgvx up NAME`, with its TAPs in this network namespace")
    if udp.ok and rootless.ok:
        ways.append("`wgvx up NAME --rootless`, with its TAPs in a namespace of its own")
    return Report(findings, tuple(ways))

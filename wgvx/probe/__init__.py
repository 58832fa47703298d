"""What this machine or container allows, each thing really tried."""

from __future__ import annotations

from dataclasses import dataclass

from wgvx.ports.errors import PortDeniedError
from wgvx.probe import machine, network, ports, taps
from wgvx.probe.confinement import confinement
from wgvx.probe.finding import Finding
from wgvx.probe.surroundings import surroundings

__all__ = ["Finding", "Report", "look", "other_ways"]


@dataclass(frozen=True)
class Report:
    """All findings, one row for each kind of port, and the ways to run a node as its file is."""

    findings: tuple[Finding, ...]
    ports: tuple[Finding, ...]
    ways: tuple[str, ...]


def look() -> Report:
    """Try everything; takes about a second and leaves nothing behind."""
    udp = network.udp()
    tun, in_place, apart, table = _look_at_ports()
    here, rootless = taps.here(in_place, table[ports.HERE].mend), taps.rootless(apart)
    findings = (
        machine.python(),
        udp,
        network.ipv6(),
        tun,
        here,
        rootless,
        *taps.features(in_place if here.ok else apart),
        network.udp_segment(),
        network.udp_gro(),
        confinement(),
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
    if udp.ok and table[ports.STACK].ok:
        ways.append("`wgvx up NAME --userspace`, with a TCP/IP stack in place of its TAP")
    return Report(findings, tuple(table.values()), tuple(ways))


def other_ways(denied: PortDeniedError, rootless: bool) -> str:
    """For whoever was denied a TAP, here or `rootless`: why, what would have it allowed, and the
    ports that there are as it is. Lines to print."""
    *_, table = _look_at_ports()
    row = table[ports.NAMESPACES if rootless else ports.HERE]
    cure = (row.mend or "").removeprefix(f"{denied.why}: ") or denied.cure
    lines = [denied.why, f"to have it: {cure}"] if cure else [denied.why]
    lines.append("what works here as it is (`wgvx doctor` has the whole table):")
    lines += [f"  {row.what}: {row.meaning}" for row in table.values() if row.ok]
    return "\n".join(lines)


def _look_at_ports() -> tuple[Finding, taps.Attempt, taps.Attempt, dict[str, Finding]]:
    """/dev/net/tun, a TAP made here, one made rootless, and the table of ports by their names."""
    tun = taps.tun_node()
    here, rootless = taps.attempt(rootless=False), taps.attempt(rootless=True)
    rows = ports.table(surroundings(), here, rootless, tun)
    return tun, here, rootless, {row.what: row for row in rows}

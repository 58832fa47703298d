"""What a confined node may have done for it. Imports nothing: its helper is to be small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """All that the helper may be asked for from the time on that the node is confined."""

    stamps: str
    files: tuple[str, ...]
    """Whose names may be taken away."""
    streams: tuple[str, ...]
    """Sockets of VMs that may be connected to,"""
    datagrams: tuple[tuple[str, str], ...]
    """and those, (ours, the VM's), that may be made and connected."""
    workers: int
    config: str
    """The node's file, which may be read again."""
    manager: str | None = None
    """Where a service manager listens, if there is one."""
    taps: tuple[tuple[str, str | None], ...] = ()
    """Those that may be given another MTU, by name and network namespace."""

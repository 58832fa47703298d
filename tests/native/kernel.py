"""Linux as the judge: what is written into one TAP comes out of another, cut by the kernel."""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns import lab as lab_module
from tests.netns.lab import Lab, Namespace
from tests.support.segmenter import VnetHeader
from tests.vxlan.packets import MAC_A, MAC_B
from wgvx.ports import tun

_OFFLOADS = (
    tun.TUN_F_CSUM
    | tun.TUN_F_TSO4
    | tun.TUN_F_TSO6
    | tun.TUN_F_TSO_ECN
    | tun.TUN_F_USO4
    | tun.TUN_F_USO6
)
_PATIENCE = 1.0
"""Seconds for a frame that must come."""


class KernelCutter:
    """Two TAPs under one bridge: the first takes large frames, the second knows no offload."""

    def __init__(self, host: Namespace) -> None:
        with host.entered():
            self._into = tun.open_node()
            self._out = tun.open_node()
            tun.attach(self._into, "into", tun.IFF_TAP | tun.IFF_NO_PI | tun.IFF_VNET_HDR)
            tun.attach(self._out, "out", tun.IFF_TAP | tun.IFF_NO_PI)
        tun.set_offload(self._into, _OFFLOADS)
        tun.set_offload(self._out, 0)
        # Nobody but us is to speak.
        for scope in ("all", "default"):
            host.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
        host.ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        for name in ("into", "out"):
            host.ip("link", "set", name, "mtu", "9000", "master", "br0", "up")
        host.ip("link", "set", "br0", "up")

    def close(self) -> None:
        os.close(self._into)
        os.close(self._out)

    def cut(self, header: VnetHeader, frame: bytes, count: int) -> list[bytes]:
        """What comes out, at least ``count`` frames unless they do not come."""
        os.write(self._into, header.pack() + frame)
        frames: list[bytes] = []
        while select.select([self._out], [], [], 0 if len(frames) >= count else _PATIENCE)[0]:
            read = os.read(self._out, 70000)
            if read[:12] == MAC_B + MAC_A:
                frames.append(read)
        return frames


@contextmanager
def kernel_cutter(folder: Path) -> Iterator[KernelCutter]:
    """Takes root: skips without."""
    if os.geteuid() != 0:
        pytest.skip("needs root: sudo ./dev test tests/native")
    if shutil.which("ip") is None:
        pytest.skip("missing: apt-get install -y --no-install-recommends iproute2")
    lab_module.sweep()
    lab = Lab(folder)
    try:
        cutter = KernelCutter(lab.host("k"))
        try:
            yield cutter
        finally:
            cutter.close()
    finally:
        lab.close()

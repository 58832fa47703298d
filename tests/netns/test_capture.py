"""`wgvx capture` of a confined node, by tshark: inside, and outside down to the inside."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.netns.lab import Lab, Process, eventually
from tests.netns.nodes import WGVX, WgvxNode, wgvx_pair
from tests.netns.traffic import assert_ping

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(90),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="no tshark: apt-get install tshark"),
]


def _capture(node: WgvxNode, path: Path, *options: str) -> Process:
    process = node.place.start(
        *(WGVX, "capture", node.name, "--write", str(path), *options), log=path.stem
    )
    eventually(lambda: path.exists() and path.stat().st_size, f"{path} has begun")
    return process


def _seen(path: Path, only: str) -> list[str]:
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Y", only, "-T", "fields", "-e", "frame.number"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_inside_and_outside(lab: Lab, tmp_path: Path) -> None:
    a, b = wgvx_pair(lab)
    a.start()
    b.start()
    inner, outer = tmp_path / "inner.pcapng", tmp_path / "outer.pcapng"
    assert_ping(a.host, b.address[4])
    session = a.latest_handshake(b.id)
    captures = [_capture(a, inner), _capture(a, outer, "--outer", "--keys")]
    eventually(lambda: a.latest_handshake(b.id) > session, "there is a session with its keys")
    a.host.ip("neigh", "flush", "dev", a.tap)
    assert_ping(a.host, b.address[4], count=5)
    for process in captures:
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert "packets written" in process.stderr
        assert "lost" not in process.stderr
    assert _seen(inner, "arp.opcode == 1")
    assert _seen(inner, "arp.opcode == 2")
    for kind in (8, 0):
        assert len(_seen(inner, f"icmp.type == {kind}")) >= 5
        assert len(_seen(outer, f"wg && vxlan && icmp.type == {kind}")) >= 5
    # Nothing is copied any more, and the node goes on.
    assert_ping(a.host, b.address[4])

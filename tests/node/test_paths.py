"""Paths probed over real UDP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.sites import deliver, dropped, joined, peer_of, port_of, until
from tests.support.running import Run
from wgvx.control.status import show
from wgvx.paths import probes
from wgvx.wireguard.constants import SECOND


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_peer_in_use_is_asked_and_answers(
    host: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "LOOK_EVERY", SECOND // 20)

    async def scenario() -> None:
        async with joined(tmp_path, host) as (near, far):
            assert near.engine.paths.mtu(peer_of(near, 2).id) is None
            for number in range(8):
                await deliver(port_of(near), port_of(far), bytes([number]) * 1200)
            await until(lambda: near.engine.paths.mtu(peer_of(near, 2).id) == near.tunnel_mtu)
            (shown,) = show(near)["peers"]
            assert shown["path_mtu"] == near.tunnel_mtu
            assert dropped(near) == dropped(far) == {}

    run(scenario())

"""What the log says of paths, and which TAPs follow."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from errno import EPERM
from os import strerror

import pytest

from tests.support.engines import NETWORK, make_engine, peer_config
from wgvx.config import NetworkConfig
from wgvx.engine import Engine
from wgvx.mtu_follower import MtuFollower
from wgvx.paths.probes import Change
from wgvx.privilege.errands import Errands

FIXED = replace(NETWORK, vni=NETWORK.vni + 1, mtu=1350)


@dataclass
class Kernel(Errands):
    """Takes another MTU, or refuses."""

    refuses: bool = False
    mtus: dict[str, int] = field(default_factory=dict)

    def set_tap_mtu(
        self, name: str, mtu: int, netns: str | None, namespaces: Sequence[int] | None
    ) -> None:
        assert (netns, namespaces) == (None, None)
        if self.refuses:
            raise OSError(EPERM, strerror(EPERM))
        self.mtus[name] = mtu


class Site:
    """A node with one peer, whose path carries what is said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *networks: NetworkConfig) -> None:
        self.engine: Engine = make_engine(
            1, [peer_config(2)], now=0, wall_clock=lambda: 0, networks=networks
        )
        self.kernel = Kernel()
        self.carried = 1420
        self.changes: list[Change] = []
        self.follower = MtuFollower(self.engine, self.kernel, lambda: 0)
        monkeypatch.setattr(self.engine.paths, "lowest", lambda: self.carried)
        monkeypatch.setattr(self.engine.paths, "take_changes", self.take)

    def take(self) -> list[Change]:
        changes, self.changes = self.changes, []
        return changes

    def add(self, network: NetworkConfig, name: str, why_not: str | None = None) -> None:
        self.follower.add_tap(network, name, 1350, namespaces=None, why_not=why_not)

    def carry(self, mtu: int) -> None:
        (info,) = self.engine.peers.values()
        self.changes.append(Change(info.id, self.carried, mtu))
        self.carried = mtu
        self.follower.follow()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Site:
    caplog.set_level(logging.INFO)
    return Site(monkeypatch, NETWORK, FIXED)


def test_down_and_up_but_not_below_ipv6(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.add(NETWORK, "m0")
    site.add(FIXED, "m1")
    for carried, mtu in ((1376, 1306), (1200, 1280), (1420, 1350)):
        site.carry(carried)
        assert site.kernel.mtus == {"m0": mtu}
    levels = [record.levelname for record in caplog.records if "the path to" in record.message]
    assert levels == ["WARNING", "WARNING", "INFO"]


def test_a_peer_that_goes_holds_nothing_down(site: Site) -> None:
    site.add(NETWORK, "m0")
    site.carry(1376)
    site.carried = 1420
    site.follower.follow()
    assert site.kernel.mtus == {"m0": 1350}


@pytest.mark.parametrize("why_not", ["it was passed in", None])
def test_a_tap_that_cannot_follow_is_told_of(
    site: Site, caplog: pytest.LogCaptureFixture, why_not: str | None
) -> None:
    site.kernel.refuses = True
    site.add(NETWORK, "m0", why_not)
    site.carry(1376)
    assert f"TAP m0 keeps MTU 1350, and not 1306: {why_not or strerror(EPERM)}" in caplog.text
    caplog.clear()
    site.carry(1420)
    assert "TAP m0" not in caplog.text
    assert site.kernel.mtus == {}

"""The search for a path's MTU, against a simulated path."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from wgvx.paths.search import ENOUGH_BYTES, FORGET_AFTER, GRANULARITY, SECOND, TRIES, PathSearch

TOP = 1420


@dataclass
class Path:
    """Carries ``size``, answers unless ``silent``; our own link takes ``link``."""

    size: int
    silent: bool = False
    link: int = TOP
    search: PathSearch = field(default_factory=lambda: PathSearch(TOP))
    now: int = 1000 * SECOND
    sent: list[int] = field(default_factory=list)

    def run(self, seconds: int, *, used: bool = True) -> None:
        for _ in range(seconds):
            self.now += SECOND
            if used:
                self.search.used(ENOUGH_BYTES)
            size = self.search.wanted(self.now)
            if size is None:
                continue
            self.sent.append(size)
            if size > self.link:
                self.search.refused(self.now)
            elif size <= self.size and not self.silent:
                self.search.answered(self.now)


def test_whole_path_takes_one_probe() -> None:
    path = Path(TOP)
    path.run(30)
    assert (path.search.mtu, path.sent) == (TOP, [TOP])


@pytest.mark.parametrize("size", [1200, 1201, 1215, 1216, 1320, 1399, 1405, 1419])
def test_smaller_path_is_found(size: int) -> None:
    path = Path(size)
    path.run(120)
    assert path.search.mtu is not None
    assert size - GRANULARITY < path.search.mtu <= size


def test_shrinks_and_grows() -> None:
    path = Path(TOP)
    path.run(10)
    path.size = 1300
    path.run(120)
    assert path.search.mtu == 1296
    path.size = TOP
    path.run(800)
    assert path.search.mtu == TOP


def test_nobody_answers_at_all() -> None:
    path = Path(TOP, silent=True)
    path.run(500)
    assert path.search.mtu is None
    assert len(path.sent) == 2 * TRIES


def test_silence_lowers_nothing() -> None:
    path = Path(TOP)
    path.run(10)
    path.silent = True
    path.run(600)
    assert path.search.mtu == TOP


def test_own_link_needs_one_try() -> None:
    path = Path(TOP, link=1300)
    path.run(60)
    assert path.search.mtu == 1296
    assert path.sent.count(TOP) == 1


def test_idle_peer_is_left_alone() -> None:
    path = Path(TOP)
    path.run(3600, used=False)
    assert path.sent == []


def test_hint_wakes_no_idle_peer() -> None:
    path = Path(TOP)
    path.search.hint()
    path.run(600, used=False)
    assert path.sent == []


def test_old_knowledge_is_forgotten() -> None:
    path = Path(TOP)
    path.run(5)
    path.run(FORGET_AFTER // SECOND + 61, used=False)
    assert path.search.mtu is None

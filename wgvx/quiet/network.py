"""The features that a network has, and the frames that they watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wgvx.config import NetworkConfig
from wgvx.quiet.feature import Feature, Surroundings
from wgvx.quiet.loops import LoopDetection
from wgvx.quiet.snooping import Snooping
from wgvx.quiet.suppression import Suppression
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.watch import NOTHING, Watch, kind_of

_FEATURES: tuple[type[Feature], ...] = (LoopDetection, Suppression, Snooping)

FEATURES: Mapping[str, type[Feature]] = {feature.name: feature for feature in _FEATURES}
"""By key of the network's table, in the order in which they see a frame."""


def watched_by(network: NetworkConfig) -> Watch:
    """The frames that the features which a network's table switches on want to see."""
    kinds = NOTHING
    for name, feature in FEATURES.items():
        if getattr(network, name):
            kinds |= feature.kinds
    return kinds


class QuietNetwork:
    """One network's features, as its table has them."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._features: dict[str, Feature] = {}

    @property
    def is_plain(self) -> bool:
        """Whether it has none."""
        return not self._features

    def set(self, network: NetworkConfig, now: int) -> None:
        """Make those that are switched on and close those that are not. What one that stays has
        seen, it keeps.
        """
        for name, feature in FEATURES.items():
            if not getattr(network, name):
                closed = self._features.pop(name, None)
                if closed is not None:
                    closed.close(now)
            elif name not in self._features:
                self._features[name] = feature(self._around)

    def handle(self, origin: Local | Remote, frame: bytes, now: int) -> None:
        """A watched frame: it goes on unless a feature has dealt with it."""
        kind = kind_of(frame)
        for name in FEATURES:
            feature = self._features.get(name)
            if feature is None or not feature.kinds & kind:
                continue
            if feature.handle(origin, frame, now):
                return
        self._around.bridge.forward_frame(self._around.vni, origin, frame, now)

    def next_deadline(self) -> int | None:
        """When :meth:`expire` is next worth calling; None for never."""
        deadlines = [feature.next_deadline() for feature in self._features.values()]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def expire(self, now: int) -> None:
        """Act on what is due."""
        for feature in self._features.values():
            deadline = feature.next_deadline()
            if deadline is not None and now >= deadline:
                feature.expire(now)

    def show(self, now: int) -> dict[str, Any]:
        """What `wgvx show --json` says of each feature that is on."""
        return {name: feature.show(now) for name, feature in self._features.items()}

"""Who meets whom: an implementation, who of the two calls, and which of our data planes.

CI plays a selection; ``WGVX_INTEROP=all`` (``./dev interop``) plays all.
"""

from __future__ import annotations

import itertools
import os
from typing import NamedTuple

KERNEL, GO, NEWEST_GO, BORINGTUN, WGVX = (
    "kernel",
    "wireguard-go",
    "wireguard-go-newest",
    "boringtun",
    "wgvx",
)
FARS = (KERNEL, GO, NEWEST_GO, BORINGTUN, WGVX)
DATAPLANES = ("native", "reference")


class Match(NamedTuple):
    """One way in which two implementations meet."""

    far: str
    caller: str
    """``wgvx`` or ``far``: who has the other's endpoint, and sends message 1."""
    dataplane: str
    """Ours, as ``wgvx up --dataplane`` takes it."""

    def __str__(self) -> str:
        return f"{self.far}-{self.caller}-calls-{self.dataplane}"


PLAYS_ALL = os.environ.get("WGVX_INTEROP") == "all"

ALL = tuple(itertools.starmap(Match, itertools.product(FARS, ("wgvx", "far"), DATAPLANES)))
SELECTION = (
    Match(KERNEL, "wgvx", "native"),
    Match(KERNEL, "far", "native"),
    Match(KERNEL, "wgvx", "reference"),
    Match(GO, "far", "native"),
)
MATCHES = ALL if PLAYS_ALL else SELECTION
CALLERS = ALL if PLAYS_ALL else SELECTION[:2]
"""For scenarios where it matters who called, but hardly what carries the packets."""
ONE = ALL if PLAYS_ALL else SELECTION[:1]
"""For scenarios of which even one shows what there is to see."""

FAMILIES = tuple(itertools.product((4, 6), (4, 6))) if PLAYS_ALL else ((4, 4), (6, 6))
"""Of the underlay, and of the tunnel inside it."""

"""The offloads by name, as `--offload`, `wgvx show` and `wgvx doctor` say them."""

from __future__ import annotations

from typing import Final

NAMES: Final = ("tso", "uso", "gso", "gro")
"""TCP and UDP segments whole from and to a TAP, many datagrams sent, and received, in one call."""

ALL: Final = frozenset(NAMES)


def parse(text: str) -> frozenset[str]:
    """What may be used, of ``tso,uso``, ``none`` and the like. ValueError says what is wrong."""
    if text == "none":
        return frozenset()
    names = text.split(",")
    for name in names:
        if name not in NAMES:
            raise ValueError(f"{name!r} is none of {', '.join(NAMES)}; or say none")
    return frozenset(names)

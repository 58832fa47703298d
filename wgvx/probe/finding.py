"""One answer of the probe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One answer: what was tried, whether it works, what that means, and where it does not, the
    mend (None: there is nothing to do)."""

    what: str
    ok: bool
    meaning: str
    mend: str | None = None

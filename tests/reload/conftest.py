"""Event loops for nodes that are reloaded, and a look at what each test leaves behind."""

from __future__ import annotations

from tests.support.running import nothing_left, run

__all__ = ["nothing_left", "run"]

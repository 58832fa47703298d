"""Rows of a forwarding table in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FLOOD = "00:00:00:00:00:00"


def place(where: Mapping[str, Any]) -> str:
    """Of a row, or of one end of a move; a port may be gone."""
    if where["vtep"]:
        return f"VTEP {where['vtep']}"
    return f"port {where['port'] or '-'}"

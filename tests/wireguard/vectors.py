"""The recorded handshakes of tests/vectors/, decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "vectors"


def load(name: str) -> Any:
    """A vector file as JSON."""
    return json.loads((_FOLDER / name).read_text())


def unhex(value: Any) -> Any:
    """The same with each string of hex digits turned into bytes; other values stay."""
    if isinstance(value, dict):
        return {key: unhex(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unhex(item) for item in value]
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            return value
    return value

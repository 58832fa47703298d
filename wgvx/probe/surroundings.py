"""Where we run: what a mend is typed into, or written into, differs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

# What Docker and podman leave in every container; systemd-nspawn, LXC and podman set a variable.
_MARKS = (".dockerenv", "run/.containerenv")
_VARIABLE = "container"
_KUBERNETES = "KUBERNETES_SERVICE_HOST"  # every pod has it, and no other container


class Surroundings(Enum):
    """What started us, as far as it shows."""

    HOST = "host"
    CONTAINER = "container"
    KUBERNETES = "Kubernetes"


def surroundings(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> Surroundings:
    if environment.get(_KUBERNETES):
        return Surroundings.KUBERNETES
    if environment.get(_VARIABLE) or any((root / mark).exists() for mark in _MARKS):
        return Surroundings.CONTAINER
    return Surroundings.HOST

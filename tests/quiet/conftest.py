"""Every test of a feature holds for every data plane."""

from __future__ import annotations

from tests.dataplane.conftest import dataplane_class

__all__ = ["dataplane_class"]

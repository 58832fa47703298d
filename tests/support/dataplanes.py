"""Every data plane there is, for tests that hold for all of them: the native one with each AEAD."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial

import pytest

from wgvx.dataplane.interface import DataPlane
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.dataplane.select import NOT_BUILT, make_dataplane

DataPlaneClass = Callable[[], DataPlane]

MENDS = {
    "ipsec-mb": "apt-get install libipsec-mb-dev, and install wgvx again",
    "openssl": "apt-get install libssl-dev, and install wgvx again",
}

try:
    from wgvx.dataplane.native import aead_names
except ImportError:
    NATIVE_MISSING = NOT_BUILT
    """Why there is no native data plane, and how to have it."""
    BUILT_IN: dict[str, bool] = {}
else:
    NATIVE_MISSING = ""
    BUILT_IN = aead_names()

LIBRARIES = [
    name
    for name in MENDS
    # ipsec-mb is for x86, and it stands back on a CPU where OpenSSL is the faster one.
    if name == "openssl" or (platform.machine() == "x86_64" and BUILT_IN.get(name, True))
]
"""The AEAD libraries that can be had on this machine."""


def missing(library: str) -> str:
    """Why the native data plane is not here on this library, with the mend; empty: it is."""
    if NATIVE_MISSING or BUILT_IN.get(library, False):
        return NATIVE_MISSING
    return f"no {library} here: {MENDS[library]}"


def _native(library: str) -> object:
    why = missing(library)
    marks = [pytest.mark.skip(why)] if why else []
    made = partial(make_dataplane, "native", library)
    return pytest.param(made, id=f"native-{library}", marks=marks)


NATIVE = [_native(library) for library in LIBRARIES]
DATAPLANES = [pytest.param(ReferenceDataPlane, id="reference"), *NATIVE]

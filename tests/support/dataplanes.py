"""Every data plane there is, for tests that hold for all of them: the native one with each AEAD."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from wgvx.dataplane.interface import DataPlane
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.dataplane.select import NOT_BUILT, make_dataplane

DataPlaneClass = Callable[[], DataPlane]

LIBRARIES = {
    "ipsec-mb": "x86 only: apt-get install libipsec-mb-dev, and install wgvx again",
    "openssl": "apt-get install libssl-dev, and install wgvx again",
}


def _native(library: str) -> object:
    """The native data plane on one AEAD library; its tests skip, with the mend, where it is not."""
    try:
        from wgvx.dataplane.native import aead_names
    except ImportError:
        missing = NOT_BUILT
    else:
        works = aead_names().get(library, False)
        missing = "" if works else f"no {library} here ({LIBRARIES[library]})"
    marks = [pytest.mark.skip(missing)] if missing else []
    made = partial(make_dataplane, "native", library)
    return pytest.param(made, id=f"native-{library}", marks=marks)


NATIVE = [_native(library) for library in LIBRARIES]
DATAPLANES = [pytest.param(ReferenceDataPlane, id="reference"), *NATIVE]

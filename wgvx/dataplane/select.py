"""Which data plane serves a node."""

from __future__ import annotations

from wgvx.dataplane.interface import DataPlane
from wgvx.dataplane.reference import ReferenceDataPlane

NAMES = ("native", "reference")


class DataPlaneMissing(Exception):  # noqa: N818 - says what is missing
    """The data plane asked for is not here; the message names the mend."""


def make_dataplane(name: str | None) -> DataPlane:
    """The data plane of that name; None takes the fastest there is.

    Raises DataPlaneMissing.
    """
    if name is not None and name not in NAMES:
        raise DataPlaneMissing(
            f"there is no data plane {name!r}: --dataplane and WGVX_DATAPLANE take "
            f"{' or '.join(NAMES)}"
        )
    if name not in (None, "reference"):
        raise DataPlaneMissing(
            f"there is no {name} data plane in this build: "
            "leave --dataplane (and WGVX_DATAPLANE) out, or say reference"
        )
    return ReferenceDataPlane()

"""Which data plane serves a node."""

from __future__ import annotations

from wgvx.dataplane.interface import DataPlane
from wgvx.dataplane.reference import ReferenceDataPlane

NAMES = ("native", "reference")

NOT_BUILT = (
    "the native data plane is not here: `apt-get install gcc libc6-dev python3-dev libssl-dev` "
    "and install wgvx again"
)


class DataPlaneMissing(Exception):  # noqa: N818 - says what is missing
    """The data plane asked for is not here; the message names the mend."""


def make_dataplane(name: str | None, aead: str | None = None) -> DataPlane:
    """The data plane of that name; None takes the fastest there is.

    ``aead`` names the library that the native one seals and opens with, None the fastest. Raises
    DataPlaneMissing.
    """
    if name is not None and name not in NAMES:
        raise DataPlaneMissing(
            f"there is no data plane {name!r}: --dataplane and WGVX_DATAPLANE take "
            f"{' or '.join(NAMES)}"
        )
    if name == "reference":
        return ReferenceDataPlane()
    try:
        from wgvx.dataplane.native import NativeDataPlane
    except ImportError as error:
        if name is None:
            return ReferenceDataPlane()
        raise DataPlaneMissing(f"{NOT_BUILT} ({error}), or say reference") from None
    try:
        return NativeDataPlane(aead)
    except ValueError as error:
        raise DataPlaneMissing(f"WGVX_AEAD: {error}") from None

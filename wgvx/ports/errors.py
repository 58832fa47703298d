"""What goes wrong with ports."""

from __future__ import annotations


class PortError(Exception):
    """A port or namespace that cannot be had. The message names what stands in the way and its
    mend; it is for the user as it is."""


class PortDeniedError(PortError):
    """One that is not allowed here, whatever its name and settings: another kind of port may be.
    ``why`` stands in the way, ``cure`` is what would have it allowed, where that is known to be
    one thing; the message is both."""

    def __init__(self, why: str, cure: str = "") -> None:
        super().__init__(f"{why}: {cure}" if cure else why)
        self.why, self.cure = why, cure


class PortGone(Exception):  # noqa: N818 - news about the device, not an error of the program
    """The device behind a port has disappeared, so nothing will ever come or go there again."""

"""The commands that the scenarios use, and the packages that they come in."""

from __future__ import annotations

import functools
import os
import sys

from interop.kernel.host import has_wireguard
from interop.kernel.packages import find
from interop.kernel.packages import obstacle as no_guest
from tests.netns.conftest import NETNS_TOOLS

# Command -> Debian package.
TOOLS = NETNS_TOOLS | {
    "busybox": "busybox-static",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "tcpreplay": "tcpreplay",
    "tshark": "tshark",
}


@functools.cache
def obstacle() -> str | None:
    """Why no scenario can be played here, and the command that would change that."""
    if os.geteuid() != 0:
        return "needs root: sudo ./dev interop"
    missing = sorted({package for tool, package in TOOLS.items() if find(tool) is None})
    if missing:
        return f"missing: apt-get install -y --no-install-recommends {' '.join(missing)}"
    if not has_wireguard() and (reason := no_guest()):
        return f"no kernel WireGuard here, nor a guest that has it: {reason}"
    return None


if __name__ == "__main__":
    sys.exit(obstacle())

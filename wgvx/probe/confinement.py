"""Whether a node can give up system calls here, tried in a process of its own."""

from __future__ import annotations

import subprocess

from wgvx.ports import child
from wgvx.probe.finding import Finding

WHAT = "least privilege"
SECONDS = 20.0


def confinement() -> Finding:
    """A child confines itself as a node does, and says how far it got."""
    try:
        tried = subprocess.run(
            child.command("wgvx.privilege.trial"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(WHAT, False, f"a node keeps what it has: {error}")
    if tried.returncode == 0:
        return Finding(WHAT, True, "a running node has no capability and few system calls")
    why, _, mend = tried.stdout.strip().partition("\n")
    return Finding(WHAT, False, f"a node keeps its system calls: {why}", mend or None)

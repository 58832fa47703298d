"""The way in: TAPs, and what they can do beyond plain frames."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from wgvx.ports import mend, tun
from wgvx.ports.errors import PortError, PortGone
from wgvx.ports.provision import Provisioner, TapRequest
from wgvx.probe.finding import Finding

_MAC = bytes.fromhex("02776776780a")
_MTU = 1350


@dataclass(frozen=True)
class Attempt:
    """What came of making TAPs: ``problem`` is what stands in the way, None where nothing does."""

    problem: str | None
    offloads: frozenset[str] = frozenset()
    """Of tso and uso."""
    queues: bool = False
    """Whether one may have several."""


def attempt(rootless: bool) -> Attempt:
    """Make a TAP, and one of each special kind, and remove them."""
    name = f"wgvx{os.getpid()}"
    try:
        with contextlib.closing(Provisioner.start(rootless)) as provisioner:
            provisioner.tap(TapRequest(name, _MAC, _MTU))
            return Attempt(
                None, _offloads(provisioner, f"{name}o"), _has_queues(provisioner, f"{name}q")
            )
    except PortError as error:
        return Attempt(str(error).removeprefix(f"TAP {name}: "))


def _offloads(provisioner: Provisioner, name: str) -> frozenset[str]:
    try:
        port = provisioner.tap(TapRequest(name, _MAC, _MTU, vnet_header=True))
        return port.set_offload(True, True)
    except (PortError, PortGone):
        return frozenset()


def _has_queues(provisioner: Provisioner, name: str) -> bool:
    try:
        return len(provisioner.tap(TapRequest(name, _MAC, _MTU, queues=2)).fds) == 2
    except PortError:
        return False


def tun_node() -> Finding:
    try:
        os.close(tun.open_node())
    except OSError as error:
        return Finding(tun.NODE, False, "no TAP without it", str(mend.tun_node(error)))
    return Finding(tun.NODE, True, "the TUN driver is there and open to this user")


def here(attempted: Attempt, cure: str | None) -> Finding:
    problem = attempted.problem
    what = "TAP in this network namespace"
    if problem is None:
        return Finding(what, True, "`wgvx up NAME` works")
    # What is wrong with the node says itself how to mend it.
    whole = problem if tun.NODE in problem else f"{problem}: {cure}"
    return Finding(what, False, "`wgvx up NAME` cannot make its TAP", whole)


def rootless(attempted: Attempt) -> Finding:
    # A TAP really made: with AppArmor's restriction a namespace can be had, and no power in it.
    problem = attempted.problem
    return Finding(
        "TAP in a user and network namespace",
        problem is None,
        "`wgvx up NAME --rootless` and `wgvx demo` work"
        if problem is None
        else "`wgvx up NAME --rootless` does not work",
        problem,
    )


def features(attempted: Attempt) -> tuple[Finding, ...]:
    """What makes TAPs fast, from the attempt that made one."""
    rows = (
        (
            "TSO on a TAP",
            "tso" in attempted.offloads,
            "tso: TCP comes and goes in segments of up to 64 KiB",
            "one frame per TCP packet",
            "Linux 2.6.27 or newer, without a sandbox that hides it",
        ),
        (
            "USO on a TAP",
            "uso" in attempted.offloads,
            "uso: UDP sent many at a time comes and goes so",
            "one frame per UDP packet",
            "Linux 6.2 or newer, without a sandbox that hides it",
        ),
        (
            "multi-queue TAP",
            attempted.queues,
            "each of several --workers reads a queue of its own",
            "several --workers share one queue",
            "Linux 3.8 or newer, without a sandbox that hides it",
        ),
    )
    if attempted.problem is not None:
        return tuple(Finding(what, False, "not tried: there is no TAP") for what, *_ in rows)
    return tuple(
        Finding(what, True, gain) if ok else Finding(what, False, loss, cure)
        for what, ok, gain, loss, cure in rows
    )

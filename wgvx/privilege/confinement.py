"""The steps by which a node gives up what it needs no more, each announced and each optional."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from dataclasses import dataclass

from wgvx.loop import LoopFactory
from wgvx.privilege import capabilities, syscalls
from wgvx.privilege.syscalls import Needs, NoFilter

log = logging.getLogger(__name__)

CAPS, NNP, SECCOMP = "caps", "nnp", "seccomp"
STEPS = (CAPS, NNP, SECCOMP)
ALL = frozenset(STEPS)


def parse(text: str) -> frozenset[str]:
    """``caps,nnp,seccomp`` or some of them, or ``none``. Raises ValueError, which says so."""
    if text == "none":
        return frozenset()
    named = frozenset(text.split(","))
    if not named <= ALL:
        raise ValueError(f"{text!r}: want some of {','.join(STEPS)}, or none")
    # Without it, a filter takes a capability.
    return named | {NNP} if SECCOMP in named else named


@dataclass(frozen=True)
class Confinement:
    """Which steps were done."""

    caps: bool = False
    nnp: bool = False
    seccomp: bool = False


def confine(steps: Set[str], needs: Needs) -> Confinement:
    """Do these for the whole process, which has one thread as yet. What the system does not let us
    do is said, and the rest done."""
    caps = CAPS in steps and _done("capabilities", capabilities.drop_capabilities)
    nnp = NNP in steps and _done("new privileges", capabilities.refuse_new_privileges)
    calls = 0
    if SECCOMP in steps:
        try:
            calls = syscalls.install(needs)
        except NoFilter as error:
            mend = f": {error.mend}" if error.mend else ""
            log.warning("system calls are not filtered: %s%s", error, mend)
    said = (
        "no capabilities" if caps else "",
        "no new privileges" if nnp else "",
        f"{calls} system calls" if calls else "",
    )
    log.info("confined: %s", ", ".join(filter(None, said)) or "not at all")
    return Confinement(caps, nnp, calls > 0)


def make_loop(factory: LoopFactory) -> LoopFactory:
    """An event loop for a confined node. libuv would batch its epoll_ctl calls in an io_uring,
    which can do what is filtered, opening files for one, and would not do without it later."""
    return lambda: syscalls.without(syscalls.IO_URING_SETUP, factory)


def _done(what: str, step: Callable[[], None]) -> bool:
    try:
        step()
    except OSError as error:
        log.warning("%s are kept: %s", what, error.strerror)
        return False
    return True

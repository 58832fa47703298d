"""What stands between us and a port, in words, with the command that mends it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from wgvx.ports.tun import NODE

_SYSCTL = Path("/proc/sys")

# Sysctls that keep ordinary users from namespaces: name, value that forbids, value that allows.
_FORBIDDING = (
    ("user.max_user_namespaces", "0", "10000"),
    ("user.max_net_namespaces", "0", "10000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)


def tun_node(error: OSError) -> str:
    """/dev/net/tun cannot be opened."""
    match error.errno:
        case errno.ENOENT:
            return (
                f"there is no {NODE}, nor may one be made: `modprobe tun` on the host, and "
                f"`--device {NODE}` for a container"
            )
        case errno.ENODEV | errno.ENXIO:
            return f"{NODE} is there but the kernel has no TUN driver: `modprobe tun` as root"
        case errno.EACCES:
            return f"{NODE} may not be opened by this user: `chmod 666 {NODE}` as root"
        case errno.EPERM:
            return f"{NODE} is denied to this container: start it with `--device {NODE}`"
    return f"{NODE}: {error.strerror}"


def no_net_admin(name: str) -> str:
    """The kernel refuses to make a TAP, or to lend out one that belongs to somebody else."""
    return f"TAP {name}: this takes CAP_NET_ADMIN"


def no_namespace(error: OSError) -> str:
    """A user or network namespace was refused, or gave no power over itself."""
    setting = forbidding_sysctl()
    if setting is not None:
        name, _, _ = setting.partition("=")
        return (
            f"no user and network namespace for this user, for {name} is {_sysctl(name)}: "
            f"`sysctl -w {setting}` as root"
        )
    if error.errno == errno.ENOSPC:
        return (
            "no more user or network namespaces: the limit user.max_user_namespaces or "
            "user.max_net_namespaces of this or an outer namespace is reached; raise it with "
            "`sysctl -w`"
        )
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return (
            "this kernel has no user namespaces (CONFIG_USER_NS, CONFIG_NET_NS): run as root "
            "without --rootless"
        )
    reason = os.strerror(error.errno or 0)
    return (
        f"user and network namespaces are refused here ({reason}): by a seccomp filter, in a "
        "container that of its runtime (`--security-opt seccomp=unconfined`)"
    )


def forbidding_sysctl() -> str | None:
    """One that keeps this user from namespaces, as NAME=VALUE that would not; None: none does."""
    for name, forbids, allows in _FORBIDDING:
        if _sysctl(name) == forbids:
            return f"{name}={allows}"
    return None


def _sysctl(name: str) -> str | None:
    try:
        return (_SYSCTL / name.replace(".", "/")).read_text().strip()
    except OSError:
        return None

"""What stands between us and a port, in words, with the command that mends it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from wgvx.ports.errors import PortDeniedError
from wgvx.ports.tun import NODE

_SYSCTL = Path("/proc/sys")
_STATUS = Path("/proc/self/status")

# Sysctls that keep ordinary users from namespaces: name, value that forbids, value that allows.
_FORBIDDING = (
    ("user.max_user_namespaces", "0", "10000"),
    ("user.max_net_namespaces", "0", "10000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)


def tun_node(error: OSError) -> PortDeniedError:
    """/dev/net/tun cannot be opened."""
    match error.errno:
        case errno.ENOENT:
            return PortDeniedError(
                f"there is no {NODE}, nor may one be made",
                f"`modprobe tun` on the host, and `--device {NODE}` for a container",
            )
        case errno.ENODEV | errno.ENXIO:
            return PortDeniedError(
                f"{NODE} is there but the kernel has no TUN driver", "`modprobe tun` as root"
            )
        case errno.EACCES:
            return PortDeniedError(
                f"{NODE} may not be opened by this user", f"`chmod 666 {NODE}` as root"
            )
        case errno.EPERM:
            return PortDeniedError(
                f"{NODE} is denied to this container or service",
                f"start it with `--device {NODE}`, or `DeviceAllow={NODE}` in systemd's unit",
            )
    return PortDeniedError(f"{NODE}: {error.strerror}")


def no_net_admin(name: str) -> PortDeniedError:
    """The kernel refuses to make a TAP, or to lend out one that belongs to somebody else."""
    return PortDeniedError(f"TAP {name}: this takes CAP_NET_ADMIN")


def no_namespace(error: OSError) -> PortDeniedError:
    """A user or network namespace was refused, or gave no power over itself."""
    setting = forbidding_sysctl()
    if setting is not None:
        name, _, _ = setting.partition("=")
        return PortDeniedError(
            f"no user and network namespace for this user, for {name} is {_sysctl(name)}",
            f"`sysctl -w {setting}` as root",
        )
    if error.errno == errno.ENOSPC:
        return PortDeniedError(
            "no more user or network namespaces: the limit user.max_user_namespaces or "
            "user.max_net_namespaces of this or an outer namespace is reached",
            "raise it with `sysctl -w`",
        )
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return PortDeniedError(
            "this kernel has no user namespaces (CONFIG_USER_NS, CONFIG_NET_NS)",
            "run as root without --rootless",
        )
    refused = f"user and network namespaces are refused here ({os.strerror(error.errno or 0)})"
    if _is_filtered():
        return PortDeniedError(
            f"{refused} by a filter of system calls",
            "`--security-opt seccomp=unconfined` where a container's runtime set it, "
            "`RestrictNamespaces=no` where systemd did",
        )
    return PortDeniedError(
        f"{refused}, and not by a filter of system calls",
        "look at the policy of the security module (AppArmor, SELinux), or leave the chroot",
    )


def _is_filtered() -> bool:
    """Whether this process has a seccomp filter: seccomp(2), mode 2."""
    try:
        return "\nSeccomp:\t2\n" in _STATUS.read_text()
    except OSError:
        return False


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

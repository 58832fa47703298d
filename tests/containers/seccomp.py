"""The seccomp profile of Docker and of containerd, which Kubernetes calls RuntimeDefault.

podman's own profile allows namespaces to everybody, theirs wants CAP_SYS_ADMIN for them: here it is
made of podman's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PODMANS = Path("/usr/share/containers/seccomp.json")

# What Docker's profile ties to CAP_SYS_ADMIN, but for clone(2), which it allows without CLONE_NEW*.
FOR_ADMINISTRATORS = (
    *("bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount"),
    *("mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd"),
    *("setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare"),
)
CLONE_NEW = 0x7E020000
EPERM, ENOSYS = 1, 38


def write_dockers(path: Path) -> Path:
    """Write it to a file, and return that."""
    profile: dict[str, Any] = json.loads(PODMANS.read_text())
    ours = {*FOR_ADMINISTRATORS, "clone", "clone3"}
    rules = [
        {**rule, "names": [name for name in rule["names"] if name not in ours]}
        for rule in profile["syscalls"]
    ]
    masked = {"index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    profile["syscalls"] = [rule for rule in rules if rule["names"]] + [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [masked]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        {"names": [*FOR_ADMINISTRATORS], "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM},
    ]
    path.write_text(json.dumps(profile))
    return path

"""The table of ports: which kinds can be had here, and what turns each no into a yes."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute

from wgvx.ports import mend
from wgvx.ports.tun import NODE
from wgvx.probe.finding import Finding
from wgvx.probe.surroundings import Surroundings
from wgvx.probe.taps import Attempt
from wgvx.stack import glue

HERE = "TAP made here"
BEFOREHAND = "TAP made beforehand"
PASSED = "TAP passed in"
NAMESPACES = "TAP in namespaces"
STREAM = "VM socket, stream"
DGRAM = "VM socket, dgram"
STACK = "userspace stack"

STACK_MODULE = "wgvx._stack"

_DEVICE = f"--device {NODE}"
_TUN_VOLUME = f"a volume `hostPath: {{path: {NODE}, type: CharDevice}}` mounted at {NODE}"
_UNCONFINED = "`securityContext: {seccompProfile: {type: Unconfined}}`"
_NO_NODE = f"{NODE} cannot be opened"
_IFF_TAP_TYPE = 2  # IFLA_TUN_TYPE of a TAP, 1 is a TUN


def table(
    where: Surroundings, here: Attempt, rootless: Attempt, tun: Finding
) -> tuple[Finding, ...]:
    """One row for each kind of port, from what came of making TAPs and opening /dev/net/tun."""
    return (
        _made_here(where, here, tun),
        _beforehand(where, here, tun),
        Finding(PASSED, True, "`wgvx up NAME --tap-fd FD`, by whoever has made the TAP"),
        _in_namespaces(where, rootless),
        _vm(STREAM, socket.SOCK_STREAM, 'listen = "./vm1.sock"', 'listen = "127.0.0.1:4711"'),
        _vm(
            DGRAM,
            socket.SOCK_DGRAM,
            'local = "./vm1.wgvx", remote = "./vm1.qemu"',
            'local = "127.0.0.1:4711", remote = "127.0.0.1:4712"',
        ),
        _stack(),
    )


def _cure(where: Surroundings, host: str, container: str, kubernetes: str) -> str:
    """The one for where we are. Of a container nobody knows for sure who started it."""
    match where:
        case Surroundings.HOST:
            return host
        case Surroundings.CONTAINER:
            return f"{container}; in Kubernetes {kubernetes}"
        case Surroundings.KUBERNETES:
            return kubernetes


def _run(*options: str) -> str:
    words = " ".join(option for option in options if option)
    return f"`{words}` to `docker run` or `podman run`"


def _made_here(where: Surroundings, attempt: Attempt, tun: Finding) -> Finding:
    if attempt.problem is None:
        return Finding(HERE, True, "`wgvx up NAME`")
    root = os.geteuid() == 0
    user = "" if root else "runAsUser: 0, "
    cure = _cure(
        where,
        "`sudo wgvx up NAME`" if tun.ok else str(tun.mend),
        _run("" if root else "--user 0", "--cap-add NET_ADMIN", "" if tun.ok else _DEVICE),
        f"`securityContext: {{{user}capabilities: {{add: [NET_ADMIN, MKNOD]}}}}`",
    )
    return Finding(HERE, False, _NO_NODE if not tun.ok else attempt.problem, cure)


def _beforehand(where: Surroundings, attempt: Attempt, tun: Finding) -> Finding:
    found = next(_openable_taps(), None)
    if tun.ok and found is not None:
        return Finding(BEFOREHAND, True, f'`wgvx up NAME` with `tap = "{found}"`')
    make = f"ip tuntap add dev blue0 mode tap user {os.geteuid()}"
    enter = f"`nsenter --net --target PID {make}` on the host, PID that of the container"
    init = (
        "an init container with `securityContext: {runAsUser: 0, capabilities: {add: "
        f"[NET_ADMIN, MKNOD]}}}}` that runs `{make}`"
    )
    if attempt.problem is None:
        cure = f"`{make}`"
    elif tun.ok:
        cure = _cure(where, f"`sudo {make}`", enter, init)
    else:
        cure = _cure(
            where, str(tun.mend), f"{_run(_DEVICE)}, and {enter}", f"{_TUN_VOLUME}, and {init}"
        )
    return Finding(
        BEFOREHAND, False, "there is none that this user may open" if tun.ok else _NO_NODE, cure
    )


def _openable_taps() -> Iterator[str]:
    """TAPs of this network namespace that the kernel lets this user open (tun_not_capable())."""
    with contextlib.suppress(OSError), IPRoute() as netlink:
        for link in netlink.get_links():
            info = link.get_attr("IFLA_LINKINFO")
            data = info.get_attr("IFLA_INFO_DATA") if info else None
            if not data or info.get_attr("IFLA_INFO_KIND") != "tun":
                continue
            owner, group = data.get_attr("IFLA_TUN_OWNER"), data.get_attr("IFLA_TUN_GROUP")
            if (
                data.get_attr("IFLA_TUN_TYPE") == _IFF_TAP_TYPE
                and data.get_attr("IFLA_TUN_PERSIST")
                and owner in (None, os.geteuid())
                and (group is None or group in (os.getegid(), *os.getgroups()))
            ):
                yield str(link.get_attr("IFLA_IFNAME"))


def _in_namespaces(where: Surroundings, attempt: Attempt) -> Finding:
    problem = attempt.problem
    if problem is None:
        return Finding(NAMESPACES, True, "`wgvx up NAME --rootless`")
    refused = NODE not in problem  # by the namespaces, which come before the TAP
    setting = mend.forbidding_sysctl()
    if refused and setting is not None:
        cure = f"`sysctl -w {setting}` as root of the host"
    else:
        # Nobody makes a node in a user namespace: it must be there.
        node = Path(NODE).exists()
        cure = _cure(
            where,
            problem,
            _run("--security-opt seccomp=unconfined" if refused else "", "" if node else _DEVICE),
            ", and ".join([_UNCONFINED] * refused + [_TUN_VOLUME] * (not node)),
        )
    return Finding(NAMESPACES, False, "no namespaces for this user" if refused else _NO_NODE, cure)


def _vm(what: str, kind: socket.SocketKind, unix: str, inet: str) -> Finding:
    """A socket of each family is really bound, as the port would do."""
    name = what.rpartition(" ")[2]
    entry = f'attach = [{{ type = "{name}", name = "vm1", %s }}]'
    try:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, kind) as sock:
            sock.bind(str(Path(folder, "vm1.sock")))
        return Finding(what, True, f"`{entry % unix}`")
    except OSError:
        pass  # no folder to write in, perhaps: over the loopback it takes none
    try:
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.bind(("127.0.0.1", 0))
        return Finding(what, True, f"`{entry % inet}`")
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            cure = "`ip link set lo up`, or a folder to write in: `--tmpfs /tmp`"
        else:
            cure = "let this process open sockets (seccomp, AppArmor)"
        return Finding(what, False, os.strerror(error.errno or 0), cure)


def _stack() -> Finding:
    if importlib.util.find_spec(STACK_MODULE) is None:
        return Finding(STACK, False, "it was not built", glue.MEND)
    return Finding(
        STACK,
        True,
        '`wgvx up NAME --userspace`, or `attach = [{ type = "stack", name = "web", '
        'address = ["10.0.0.1/24"], socks5 = "127.0.0.1:1080" }]`',
    )

"""What this machine or container allows, each thing really tried."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import platform
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wgvx.ports import mend, tun
from wgvx.ports.errors import PortError
from wgvx.ports.provision import Provisioner, TapRequest

SOL_UDP = socket.IPPROTO_UDP
UDP_SEGMENT = 103
UDP_GRO = 104
LOOPBACK_SECONDS = 2.0  # for a datagram to this very machine
UAPI_FOLDER = Path("/var/run/wireguard")

_MAC = bytes.fromhex("02776776780a")
_SEGMENT = 1000


@dataclass(frozen=True)
class Finding:
    """One answer: what was tried, whether it works, what that means, and where it does not, the
    mend (None: there is nothing to do)."""

    what: str
    ok: bool
    meaning: str
    mend: str | None = None


@dataclass(frozen=True)
class Report:
    """All findings, and the ways to run a node here that follow from them."""

    findings: tuple[Finding, ...]
    ways: tuple[str, ...]


def look() -> Report:
    """Try everything; takes about a second and leaves nothing behind."""
    udp, here, rootless = _udp(), _tap_here(), _tap_rootless()
    findings = (
        _python(),
        udp,
        _ipv6(),
        _offload("UDP_SEGMENT", "many datagrams leave in one call", _send_segments),
        _offload("UDP_GRO", "many datagrams arrive in one call", _receive_segments),
        _tun_node(),
        here,
        rootless,
        _uvloop(),
        _native(),
        _wg_tool(),
        _state_folder(),
        _control_folder(),
    )
    ways = []
    if udp.ok and here.ok:
        ways.append("`wgvx up NAME`, with its TAPs in this network namespace")
    if udp.ok and rootless.ok:
        ways.append("`wgvx up NAME --rootless`, with its TAPs in a namespace of its own")
    return Report(findings, tuple(ways))


def _python() -> Finding:
    # An older one could not even have read this module.
    return Finding("Python", True, f"{platform.python_version()}, and 3.11 or newer is needed")


# The way out: UDP.


def _udp() -> Finding:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 0))
    except OSError as error:
        return Finding(
            "UDP socket",
            False,
            f"no tunnel: {error.strerror}",
            "let this process open sockets (seccomp, AppArmor)",
        )
    return Finding("UDP socket", True, "the tunnel has its way out")


def _ipv6() -> Finding:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            cure = "boot without `ipv6.disable=1`"
        else:
            cure = "`sysctl -w net.ipv6.conf.all.disable_ipv6=0 && ip link set lo up` as root"
        return Finding("IPv6", False, f"peers are reached over IPv4 only: {error.strerror}", cure)
    return Finding("IPv6", True, "peers are reached over IPv4 and IPv6")


def _offload(what: str, gain: str, attempt: Callable[[], None]) -> Finding:
    try:
        attempt()
    except OSError as error:
        if error.errno == errno.ENETUNREACH:
            cure = "`ip link set lo up`: it is tried on the loopback device"
        else:
            cure = "Linux 5.0 or newer, without a sandbox that hides it"
        return Finding(what, False, f"one call per datagram: {error.strerror or error}", cure)
    return Finding(what, True, gain)


def _send_segments() -> None:
    with _loopback() as (sender, receiver):
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, _SEGMENT)
        sender.send(bytes(2 * _SEGMENT))
        for _ in range(2):
            if len(receiver.recv(65535)) != _SEGMENT:
                raise OSError("the kernel did not cut a large send into datagrams")


def _receive_segments() -> None:
    with _loopback() as (sender, receiver):
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, _SEGMENT)
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
        sender.send(bytes(2 * _SEGMENT))
        data, ancillary, _, _ = receiver.recvmsg(65535, socket.CMSG_SPACE(4))
        sizes = [
            struct.unpack_from("=H", value)[0]
            for level, kind, value in ancillary
            if (level, kind) == (SOL_UDP, UDP_GRO)
        ]
        if len(data) != 2 * _SEGMENT or sizes != [_SEGMENT]:
            raise OSError("the kernel did not join datagrams")


@contextlib.contextmanager
def _loopback() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets, the first connected to the second."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.settimeout(LOOPBACK_SECONDS)
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield sender, receiver


# The way in: TAPs.


def _tun_node() -> Finding:
    try:
        os.close(tun.open_node())
    except OSError as error:
        return Finding(tun.NODE, False, "no TAP without it", mend.tun_node(error))
    return Finding(tun.NODE, True, "the TUN driver is there and open to this user")


def _tap_here() -> Finding:
    problem = _make_tap(rootless=False)
    return Finding(
        "TAP in this network namespace",
        problem is None,
        "`wgvx up NAME` works" if problem is None else "`wgvx up NAME` cannot make its TAP",
        problem,
    )


def _tap_rootless() -> Finding:
    # A TAP really made: with AppArmor's restriction a namespace can be had, and no power in it.
    problem = _make_tap(rootless=True)
    return Finding(
        "TAP in a user and network namespace",
        problem is None,
        "`wgvx up NAME --rootless` and `wgvx demo` work"
        if problem is None
        else "`wgvx up NAME --rootless` does not work",
        problem,
    )


def _make_tap(rootless: bool) -> str | None:
    """Make a TAP and remove it; None, or what stands in the way."""
    name = f"wgvx{os.getpid()}"
    try:
        with contextlib.closing(Provisioner.start(rootless)) as provisioner:
            provisioner.tap(TapRequest(name, _MAC, 1350))
    except PortError as error:
        return str(error).removeprefix(f"TAP {name}: ").replace(name, "tap0")
    return None


# What makes it faster.


def _uvloop() -> Finding:
    if _imports("uvloop"):
        return Finding("uvloop", True, "a quicker event loop")
    return Finding("uvloop", False, "asyncio's own event loop serves", "`pip install uvloop`")


def _native() -> Finding:
    what = "native data plane"
    if _imports("wgvx.native"):
        return Finding(what, True, "packets are handled in C")
    return Finding(what, False, "not built: the reference data plane, in Python, serves")


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


# What makes it comfortable.


def _wg_tool() -> Finding:
    what = "wg(8) on nodes"
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin:/usr/bin"
    problem = _unwritable(UAPI_FOLDER)
    if problem:
        return Finding(what, False, f"`wgvx show` instead: {UAPI_FOLDER}: {problem}", "run as root")
    if shutil.which("wg", path=path) is None:
        return Finding(
            what, False, "`wgvx show` instead: no `wg` here", "`apt-get install wireguard-tools`"
        )
    return Finding(what, True, "`wg show NAME` works")


def _state_folder() -> Finding:
    """Where handshake time stamps outlive a restart."""
    if os.geteuid() == 0:
        folder = Path("/var/lib/wgvx")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
        folder = Path(base, "wgvx")
    problem = _unwritable(folder)
    if problem:
        return Finding(
            "state folder",
            False,
            f"after a clock reset peers may refuse us: {folder}: {problem}",
            "set `state_dir` in the node's file to a folder that can be written",
        )
    return Finding("state folder", True, f"{folder}")


def _control_folder() -> Finding:
    """Where `wgvx show` and the like find a running node."""
    folders = [Path("/run/wgvx"), Path(f"/tmp/wgvx-{os.geteuid()}")]
    if os.environ.get("XDG_RUNTIME_DIR"):
        folders.insert(1, Path(os.environ["XDG_RUNTIME_DIR"]))
    for folder in folders:
        if _unwritable(folder) is None:
            return Finding("control socket", True, f"in {folder}")
    return Finding(
        "control socket",
        False,
        "no node can be asked or stopped: no folder for it",
        "set XDG_RUNTIME_DIR to a folder of yours with mode 0700",
    )


def _unwritable(folder: Path) -> str | None:
    """Why no file can be made in a folder that may have to be made too; None: one was."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink() or not _trusted(folder):
            return "it belongs to somebody else"
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _trusted(folder: Path) -> bool:
    """A folder of ours or of root's."""
    status = folder.stat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid())

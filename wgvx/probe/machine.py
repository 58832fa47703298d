"""What makes it faster and more comfortable: programs, libraries, folders."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import platform
import shutil
import stat
import tempfile
from pathlib import Path

from wgvx.probe.finding import Finding

UAPI_FOLDER = Path("/var/run/wireguard")

NATIVE = "wgvx._native"
COMPILER = "`apt-get install gcc libc6-dev python3-dev libssl-dev`"
IPSEC_MB = "`apt-get install libipsec-mb-dev`"
X86 = ("x86_64", "amd64")


def python() -> Finding:
    # An older one could not even have read this module.
    return Finding("Python", True, f"{platform.python_version()}, and 3.11 or newer is needed")


def uvloop() -> Finding:
    try:
        importlib.import_module("uvloop")
    except ImportError:
        return Finding("uvloop", False, "asyncio's own event loop serves", "`pip install uvloop`")
    return Finding("uvloop", True, "a quicker event loop")


def native() -> tuple[Finding, ...]:
    """The data plane in C, and on x86-64 the faster of the libraries that it encrypts with."""
    what = "native data plane"
    on_x86 = platform.machine().lower() in X86
    if importlib.util.find_spec(NATIVE) is None:
        first = f"{IPSEC_MB} (optional, faster), " if on_x86 else ""
        return (
            Finding(
                what,
                False,
                "not built: the reference data plane, in Python, serves",
                f"{first}{COMPILER}, and install wgvx again",
            ),
        )
    try:
        libraries: dict[str, bool] = importlib.import_module("wgvx.dataplane.native").aead_names()
    except ImportError as error:
        cure = f"{COMPILER}, and install wgvx again"
        return (Finding(what, False, f"built, but it does not load: {error}", cure),)
    working = [name for name, works in libraries.items() if works]
    if not working:
        cure = "an OpenSSL 3 that is not limited to FIPS algorithms"
        return (Finding(what, False, "no library here has ChaCha20-Poly1305", cure),)
    found = Finding(what, True, f"packets are handled in C; encrypted by {' or '.join(working)}")
    return (found, _ipsec_mb(libraries)) if on_x86 else (found,)


def _ipsec_mb(libraries: dict[str, bool]) -> Finding:
    what = "ipsec-mb"
    if what not in libraries:
        return Finding(
            what,
            False,
            "slower encryption: wgvx was installed without it",
            f"{IPSEC_MB}, and install wgvx again (optional)",
        )
    if not libraries[what]:
        return Finding(
            what,
            False,
            "slower encryption: the library is not here, or not for this CPU",
            f"{IPSEC_MB} (optional)",
        )
    return Finding(what, True, "encrypts faster than OpenSSL")


def wg_tool() -> Finding:
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


def state_folder() -> Finding:
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


def control_folder() -> Finding:
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

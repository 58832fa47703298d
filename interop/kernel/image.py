"""The guest's kernel and initramfs, built in a few seconds and kept for as long as they hold.

What they were built of names the folder that they are in, so nothing stale is ever used. Two builds
at a time wait for each other, and a build that was killed leaves nothing that looks complete.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import lzma
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from interop.kernel import packages
from interop.kernel.cpio import Archive
from interop.kernel.packages import (
    GUEST_COMMANDS,
    CannotBuildError,
    UnavailableError,
    path_of,
    run,
)

HERE = Path(__file__).parent
OUT = HERE.parent / "out"
# What the result depends on, beside the kernel and this host's commands and libraries.
SOURCES = ("agent.c", "init.sh", "cpio.py", "image.py", "packages.py")
COMPILE = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-static")
# The guest cannot do without these...
NEEDED_MODULES = ("virtio_pci", "virtio_net", "virtio_console", "wireguard", "vxlan", "veth")
# ... and these load themselves where something asks for them, if the kernel has them.
MORE_MODULES = (
    *("virtio_rng", "bridge", "tun", "8021q", "dummy", "vrf", "ifb", "macvlan", "af_packet"),
    *("sch_netem", "sch_tbf", "act_mirred", "cls_matchall", "cls_u32"),
    *("nf_tables", "nf_conntrack", "nft_chain_nat", "nft_nat", "nft_masq", "nft_redir", "nft_ct"),
    *("nft_reject_inet", "nft_limit", "nft_log", "nft_fib_inet"),
    *("inet_diag", "tcp_diag", "udp_diag"),
)
# busybox looks among its own commands first when it starts another: not for us.
STARTERS = {"ash", "chroot", "ionice", "linux32", "linux64", "run-parts", "time", "watch"}
# tcpdump gives up root for this user, wherever it exists.
PASSWD = b"root:x:0:0::/lab:/bin/sh\ntcpdump:x:100:100::/:/bin/false\n"
GROUP = b"root:x:0:\ntcpdump:x:100:\n"
HOSTS = b"127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True)
class Image:
    """What QEMU boots."""

    kernel: Path
    initramfs: Path


@functools.cache
def image() -> Image:
    """The image for the present inputs, built if need be."""
    if reason := packages.obstacle():
        raise UnavailableError(reason)
    files = _host_files()
    folder = OUT / f"kernel-{_key(files)}"
    if not folder.exists():
        OUT.mkdir(exist_ok=True)
        with (OUT / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _build(folder, files)
                # 44 MB each; a guest that runs has read its own into memory.
                for old in set(OUT.glob("kernel-*")) - {folder}:
                    shutil.rmtree(old)
    return Image(folder / "vmlinuz", folder / "initramfs")


def _host_files() -> dict[str, Path]:
    """What is copied from this host: path in the guest -> file here."""
    commands = {f"bin/{command}": Path(path_of(command)) for command in GUEST_COMMANDS}
    # ldd fails where one of them is static, having told of the others.
    told = subprocess.run(
        ["ldd", *commands.values()], capture_output=True, text=True, check=False
    ).stdout
    libraries = {path: Path(path) for path in re.findall(r"(/\S+) \(0x", told)}
    return commands | libraries


def _key(files: dict[str, Path]) -> str:
    """Changes with everything that the image is made of."""
    digest = hashlib.sha256()
    for package in packages.kernel_packages():
        digest.update(f"{package}\n".encode())
    for name, file in sorted(files.items()):
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    for source in SOURCES:
        digest.update((HERE / source).read_bytes())
    return digest.hexdigest()[:16]


def _build(folder: Path, files: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory(dir=OUT) as made:
        temporary = Path(made)
        root, result = temporary / "root", temporary / "result"
        result.mkdir()
        debs = [packages.download(package, OUT) for package in packages.kernel_packages()]
        packages.unpack(debs, root)
        (vmlinuz,) = (root / "boot").glob("vmlinuz-*")
        shutil.copy(vmlinuz, result / "vmlinuz")
        archive = _files(files, temporary)
        _add_modules(archive, root, temporary / "pruned")
        archive.write(result / "initramfs")
        result.rename(folder)


def _files(files: dict[str, Path], temporary: Path) -> Archive:
    """Everything but the modules."""
    agent = temporary / "agent"
    run("gcc", *COMPILE, "-o", agent, HERE / "agent.c")
    archive = Archive()
    archive.file("init", (HERE / "init.sh").read_bytes())
    archive.file("bin/agent", agent.read_bytes())
    for path, file in files.items():
        archive.file(path, file.read_bytes())
    archive.link("bin/sh", "dash")
    for applet in sorted({*run(path_of("busybox"), "--list").split()} - STARTERS):
        archive.link(f"bin/{applet}", "busybox")
    for path in ("sbin", "usr/bin", "usr/sbin"):  # the kernel asks for /sbin/modprobe
        archive.link(path, "/bin")
    for path in ("dev", "lab", "proc", "run", "sys", "tmp", "var"):
        archive.folder(path)
    archive.link("var/run", "/run")
    for name, content in (("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS)):
        archive.file(f"etc/{name}", content, 0o644)
    return archive


def _add_modules(archive: Archive, root: Path, pruned: Path) -> None:
    """The modules we name and those that they need, not compressed: the guest is slow."""
    (version,) = (folder.name for folder in (root / "lib/modules").iterdir())
    depmod = path_of("depmod")
    run(depmod, "-b", root, version)
    source, target = root / "lib/modules" / version, pruned / "lib/modules" / version
    target.mkdir(parents=True)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(source / name, target)
    for file in _modules(root, version):
        plain = target / re.sub(r"\.(xz|zst)$", "", str(file.relative_to(source)))
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_bytes(_decompressed(file))
    run(depmod, "-b", pruned, version)
    for file in sorted(target.rglob("*")):
        if file.is_file() and not file.name.endswith(".bin"):
            archive.file(str(file.relative_to(pruned)), file.read_bytes(), 0o644)


def _modules(root: Path, version: str) -> set[Path]:
    """The files of the modules we name and those that they need."""
    files: set[Path] = set()
    for name in NEEDED_MODULES + MORE_MODULES:
        try:
            told = run(path_of("modprobe"), "-d", root, "-S", version, "--show-depends", name)
        except CannotBuildError:
            if name in NEEDED_MODULES:
                raise
            continue
        files.update(Path(path) for path in re.findall(r"^insmod (\S+)", told, re.MULTILINE))
    return files


def _decompressed(file: Path) -> bytes:
    if file.suffix == ".xz":
        return lzma.decompress(file.read_bytes())
    if file.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", file], capture_output=True, check=True).stdout
    return file.read_bytes()

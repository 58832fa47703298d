"""Brings lwIP's source to native/lwip: as Debian's (or Ubuntu's) source package, whose signature
and checksums apt verifies. Nothing of the system's own package lists is touched, and no root is
needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "native" / "lwip"
SOURCES = Path("/etc/apt")
NEEDED = ("src/core/tcp.c", "src/include/lwip/init.h", "COPYING")


class FetchError(Exception):
    """The message is for the user."""


def source_entries() -> dict[str, str]:
    """The distribution's own entries of sources.list, for sources in place of packages; by file."""
    found = {}
    for path in (SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".sources":
            stanzas = re.split(r"\n\s*\n", text)
            kept = [stanza for stanza in stanzas if is_distribution(stanza)]
            text = "\n\n".join(re.sub(r"(?m)^Types:.*$", "Types: deb-src", one) for one in kept)
        else:
            lines = [line for line in text.splitlines() if re.match(r"deb\s", line)]
            kept = [line for line in lines if is_distribution(line)]
            text = "\n".join(re.sub(r"^deb\s", "deb-src ", line) for line in kept)
        if text.strip():
            found[path.name] = text + "\n"
    return found


def is_distribution(entry: str) -> bool:
    """Others have no such package, and may take long to say so."""
    return re.search(r"\b(main|universe)\b", entry) is not None and (
        re.search(r"debian|ubuntu", entry) is not None
    )


def download(folder: Path) -> Path:
    """The release's archive, verified. Raises FetchError."""
    if shutil.which("apt-get") is None:
        raise FetchError(
            "there is no apt-get here: unpack a release of lwIP, and name it: WGVX_LWIP=DIR"
        )
    entries = source_entries()
    if not entries:
        raise FetchError(f"{SOURCES} names no archive of Debian's or Ubuntu's")
    for name in ("parts", "lists/partial", "cache/archives/partial", "source"):
        (folder / name).mkdir(parents=True)
    for name, text in entries.items():
        (folder / "parts" / name).write_text(text)
    (folder / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{folder}/parts";\n'
        f'Dir::State::lists "{folder}/lists";\nDir::Cache "{folder}/cache";\n'
        'Acquire::Languages "none";\nAPT::Sandbox::User "root";\n'
    )
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
    for words in (("update",), ("source", "--download-only", "lwip")):
        done = subprocess.run(
            ["apt-get", "--quiet", *words],
            cwd=folder / "source",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise FetchError(f"apt-get {' '.join(words)}: {done.stderr.strip()}")
    archives = [*(folder / "source").glob("lwip_*.orig.tar.*")]
    archives = [path for path in archives if path.suffix != ".asc"]
    if len(archives) != 1:
        raise FetchError("the source package has no archive of the release")
    return archives[0]


def unpack(archive: Path, folder: Path) -> Path:
    """The tree. Raises FetchError."""
    folder.mkdir()
    with tarfile.open(archive) as tar:
        # Debian 12's Python has no filters yet; the archive is the distribution's, verified.
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (top, *more) = folder.iterdir()
    tree = folder if more else top
    if not all((tree / path).is_file() for path in NEEDED):
        raise FetchError(f"{archive.name} is not laid out as lwIP is")
    return tree


def main() -> int:
    if all((TARGET / path).is_file() for path in NEEDED):
        return 0
    with tempfile.TemporaryDirectory(prefix="lwip") as text:
        folder = Path(text)
        try:
            archive = download(folder)
            tree = unpack(archive, folder / "tree")
        except (FetchError, OSError, tarfile.TarError) as error:
            print(f"wgvx: lwIP: {error}", file=sys.stderr)
            return 1
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(tree, TARGET)
    print(f"wgvx: {archive.name} is in {TARGET.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

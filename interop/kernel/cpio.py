"""An initramfs: files for the kernel's first root, as a "newc" cpio archive.

Written here and not by cpio(1), so that it needs no root, no folder full of copies, and is the same
for the same contents.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

MAGIC = "070701"
LAST = "TRAILER!!!"


class Archive:
    """Grows by one file at a time; a path that is there already stays as it is."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._paths: set[str] = set()

    def file(self, path: str, content: bytes, mode: int = 0o755) -> None:
        self._add(path, stat.S_IFREG | mode, content)

    def link(self, path: str, target: str) -> None:
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, path: str) -> None:
        self._add(path, stat.S_IFDIR | 0o755, b"")

    def write(self, file: Path) -> None:
        file.write_bytes(bytes(self._data) + self._entry(LAST, 0, b""))

    def _add(self, path: str, mode: int, content: bytes) -> None:
        name = path.lstrip("/")
        parent = str(PurePosixPath(name).parent)
        if parent != "." and parent not in self._paths:
            self.folder(parent)
        if name not in self._paths:
            self._paths.add(name)
            self._data += self._entry(name, mode, content)

    def _entry(self, name: str, mode: int, content: bytes) -> bytes:
        """Header, name and content, each padded to four bytes (initramfs-buffer-format.rst)."""
        path = name.encode() + b"\0"
        # Inode, mode, uid, gid, links, mtime, size, four device numbers, size of name, checksum.
        inode = len(self._paths)
        fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0]
        header = (MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
        return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

"""Trees of files: written whole, kept as they should be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from wgvx.fleet import files
from wgvx.fleet.files import SECRET_MODE, Changes, File

TREE = {"a/x.conf": File("x\n", SECRET_MODE), "a/b/y.sh": File("y\n", 0o755), "z": File("z\n")}


def modes(folder: Path) -> dict[str, int]:
    return {path: file.mode for path, file in files.read_tree(folder).items()}


def test_a_tree_is_what_was_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    old = os.umask(0o002)
    try:
        changes = files.write_tree(folder, TREE)
    finally:
        os.umask(old)
    assert changes == Changes(sorted(TREE), [], [])
    assert files.read_tree(folder) == TREE
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not files.write_tree(folder, TREE)


def test_what_is_as_it_should_be_stays_untouched(tmp_path: Path) -> None:
    files.write_tree(tmp_path, TREE)
    before = {path: (tmp_path / path).stat() for path in TREE}
    (tmp_path / "a/b/y.sh").chmod(0o644)
    (tmp_path / "a/x.conf").write_text("changed\n")
    (tmp_path / "a/stale").write_text("")
    (tmp_path / "old/older").mkdir(parents=True)
    (tmp_path / "old/older/file").symlink_to("/etc/passwd")
    changes = files.write_tree(tmp_path, TREE)
    assert changes == Changes([], ["a/b/y.sh", "a/x.conf"], ["a/stale", "old/older/file"])
    assert files.read_tree(tmp_path) == TREE
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "z").stat().st_ino == before["z"].st_ino


def test_what_is_in_the_way_goes_and_leads_nowhere(tmp_path: Path) -> None:
    """A link or a file where a folder is to be, and folders where files are to be."""
    folder, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own").write_text("")
    folder.mkdir()
    (folder / "a").symlink_to(elsewhere)
    (folder / "z/full").mkdir(parents=True)
    (folder / "z/full/file").write_text("")
    files.write_tree(folder, TREE)
    assert files.read_tree(folder) == TREE
    assert [path.name for path in elsewhere.iterdir()] == ["own"]
    (folder / "z").unlink()
    (folder / "z").mkdir()
    (folder / "a/b/y.sh").unlink()
    (folder / "a/b").rmdir()
    (folder / "a/b").write_text("")
    files.write_tree(folder, TREE)
    assert files.read_tree(folder) == TREE


def test_a_tree_whose_making_was_killed_is_made(tmp_path: Path) -> None:
    files.write_tree(tmp_path, TREE)
    (tmp_path / "z").rename(tmp_path / ".z.new")
    files.write_tree(tmp_path, TREE)
    assert files.read_tree(tmp_path) == TREE


def test_a_secret_is_never_readable_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even while it is written, and not where one that others could read is in its place."""
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    seen = []
    real = os.write

    def spy(descriptor: int, data: bytes) -> int:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real(descriptor, data[:4])  # as a full pipe or a signal would have it

    monkeypatch.setattr(os, "write", spy)
    old = os.umask(0)
    try:
        files.write(path, "secret", SECRET_MODE)
    finally:
        os.umask(old)
    assert seen == [SECRET_MODE] * 2
    assert stat.S_IMODE(path.stat().st_mode) == SECRET_MODE
    assert path.read_text() == "secret"


def test_one_that_fails_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write(path, "new \udcff")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_says_for_which_file_and_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_: int, __: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_one_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".file.new").write_text("half")
    files.write(tmp_path / "file", "whole")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]

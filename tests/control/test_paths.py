"""Locks and folders: what says that a node runs, and whom a client trusts."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgvx.control import paths
from wgvx.control.client import ControlError, ask, find
from wgvx.control.paths import AlreadyRunning, NodeLock, NoFolder

SYSTEM = Path("/run/wgvx")


@pytest.fixture
def lock(folder: Path) -> Iterator[NodeLock]:
    assert folder.exists()
    held = NodeLock("a")
    yield held
    held.release()


# Which folders.


def test_the_order_of_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(f"/tmp/wgvx-{os.geteuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert paths.folders() == [SYSTEM, Path("/run/user/1/wgvx"), own]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert paths.folders() == [SYSTEM, own]
    for ignored in ("", "run", "./run", "~/run"):  # as the XDG specification wants
        monkeypatch.setenv("XDG_RUNTIME_DIR", ignored)
        assert paths.folders() == [SYSTEM, own]


@pytest.mark.parametrize("missing", ["nowhere/wgvx", "file/wgvx"])
def test_the_first_that_can_be_written_is_taken(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    good = tmp_path / "good"
    monkeypatch.setattr(paths, "folders", lambda: [tmp_path / missing, good])
    lock = NodeLock("a")
    assert lock.socket == good / "a.sock"
    assert stat.S_IMODE(good.stat().st_mode) == 0o700
    lock.release()


def test_no_folder_names_them_all_and_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = [tmp_path / "x" / "wgvx", tmp_path / "y" / "wgvx"]
    monkeypatch.setattr(paths, "folders", lambda: tried)
    with pytest.raises(NoFolder, match="set XDG_RUNTIME_DIR") as caught:
        NodeLock("a")
    assert all(str(folder) in str(caught.value) for folder in tried)


def spoil(folder: Path, how: str) -> None:
    """Make a folder one that somebody else could have put a socket into."""
    if how == "symlink":
        (folder.parent / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(folder.parent / "elsewhere")
    elif how == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod({"group": 0o770, "others": 0o707, "sticky": 0o1777}[how])


@pytest.mark.parametrize("how", ["symlink", "file", "group", "others", "sticky"])
def test_a_folder_that_others_can_write_is_not_trusted(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad"
    spoil(bad, how)
    monkeypatch.setattr(paths, "folders", lambda: [bad])
    with pytest.raises(NoFolder):
        NodeLock("a")
    if bad.is_dir():
        # What lies there says nothing: neither that a node runs, nor where to talk to.
        held = (bad / "a.lock").open("a")
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not paths.is_locked(bad / "a.lock")
        assert list(paths.running()) == []
        with pytest.raises(ControlError, match="no node a is running"):
            find("a")
        held.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="to give a folder away takes root")
def test_somebody_elses_folder_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.mkdir(mode=0o700)
    os.chown(bad, 61234, 61234)
    monkeypatch.setattr(paths, "folders", lambda: [bad, good])
    lock = NodeLock("a")
    assert lock.folder == good
    lock.release()


# The lock.


def test_a_second_node_of_the_name_is_refused(lock: NodeLock) -> None:
    with pytest.raises(AlreadyRunning, match="node a runs already: stop it with `wgvx down a`"):
        NodeLock(lock.name)
    other = NodeLock("b")
    assert [name for name, _ in paths.running()] == ["a", "b"]
    other.release()


def test_also_where_it_runs_from_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when XDG_RUNTIME_DIR is set in one terminal and not in the other."""
    here = NodeLock("a")
    monkeypatch.setattr(paths, "folders", lambda: [tmp_path / "new", folder])
    with pytest.raises(AlreadyRunning):
        NodeLock("a")
    assert find("a") == folder / "a.lock"
    here.release()


def test_nothing_is_left_of_a_node_that_ended(folder: Path) -> None:
    lock = NodeLock("a")
    assert paths.find_running("a") == folder / "a.lock"
    lock.release()
    assert list(folder.iterdir()) == []
    assert paths.find_running("a") is None


def test_what_a_killed_node_leaves_is_no_node(folder: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from wgvx.control import paths\n"
        "paths.folders = lambda: [Path(sys.argv[1])]\n"
        "lock = paths.NodeLock('a'); lock.socket.touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(folder)], timeout=20, check=False)
    assert killed.returncode == -9
    assert sorted(path.name for path in folder.iterdir()) == ["a.lock", "a.sock"]
    assert paths.find_running("a") is None
    assert list(paths.running()) == []
    lock = NodeLock("a")
    assert paths.find_running("a") is not None
    lock.release()


def test_who_only_asks_is_not_in_the_way(folder: Path) -> None:
    """Asking takes the lock for a moment: a node that starts just then must not take it for one
    that runs."""
    done = threading.Event()
    (folder / "a.lock").touch()

    def keep_asking() -> None:
        while not done.is_set():
            paths.is_locked(folder / "a.lock")

    askers = [threading.Thread(target=keep_asking) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(300):
            NodeLock("a").release()
    finally:
        done.set()
        for asker in askers:
            asker.join()


def test_a_lock_removed_by_its_holder_between_open_and_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a file that no path leads to any more would keep nobody out."""
    holder = NodeLock("a")
    really = fcntl.flock

    def flock(file: int, operation: int) -> None:
        if not holder._file.closed:
            holder.release()
        really(file, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", flock)
        lock = NodeLock("a")
    assert paths.is_locked(folder / "a.lock")
    lock.release()


def test_of_many_that_start_at_once_one_runs(folder: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from wgvx.control import paths\n"
        "paths.folders = lambda: [Path(sys.argv[1])]\n"
        "sys.stdin.readline()\n"
        "try: lock = paths.NodeLock('a')\n"
        "except paths.AlreadyRunning: print('runs already')\n"
        "else: print('mine', flush=True); sys.stdin.readline(); lock.release()"
    )
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = []
    for process in starting:
        assert process.stdout is not None
        said.append(process.stdout.readline().strip())
    for process in starting:
        process.communicate("\n", timeout=20)
    assert sorted(said) == ["mine", *["runs already"] * 3]


def test_waiting_returns_with_the_end_and_not_before(lock: NodeLock, folder: Path) -> None:
    returned: list[float] = []
    path = paths.find_running("a")
    assert path is not None

    def wait() -> None:
        with path.open() as file:
            opened.set()
            paths.wait_released(file)
            returned.append(time.monotonic())

    opened = threading.Event()
    waiter = threading.Thread(target=wait)
    waiter.start()
    assert opened.wait(5)
    time.sleep(0.05)
    assert returned == []
    lock.release()
    # A new one of the name starts at once: that is no reason to wait on.
    again = NodeLock("a")
    waiter.join(5)
    assert len(returned) == 1
    again.release()
    assert list(folder.iterdir()) == []


# A client.


def test_a_name_that_does_not_run_names_those_that_do(lock: NodeLock) -> None:
    assert lock.name == "a"
    with pytest.raises(ControlError, match="no node x is running; running: a") as caught:
        find("x")
    assert caught.value.exit_status == 1


def test_a_node_that_is_still_starting_does_not_answer(lock: NodeLock) -> None:
    with pytest.raises(ControlError, match="node a does not answer") as caught:
        ask(find(lock.name), "show")
    assert caught.value.exit_status == 1


def serve_once(path: Path, answer: bytes) -> threading.Thread:
    """An odd node: answers one request with these bytes."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server, server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize("answer", [b"", b'{"result": [1, 2', b'{"result": 1}'])
def test_a_node_that_ends_in_the_middle_of_an_answer(answer: bytes, lock: NodeLock) -> None:
    server = serve_once(lock.socket, answer)
    with pytest.raises(ControlError, match="node a ended before it answered"):
        ask(find("a"), "show")
    server.join(5)


def test_a_node_that_hangs(lock: NodeLock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wgvx.control.client.PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(lock.socket))
        server.listen()
        with pytest.raises(ControlError, match="node a does not answer: timed out"):
            ask(find("a"), "show")

"""The bound of the handshake stamps: reserved before use, kept over restarts and clock resets."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.sites import NETWORK, config, deliver, make_node, peer, peer_of, point, port_of
from tests.node.sites import running as running_node
from tests.support.running import Run
from wgvx.drops import Reason
from wgvx.state import StampFile, state_directory
from wgvx.wireguard.tai64n import RESERVE_AHEAD, label

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
KEY = b"k" * 32


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_bound_is_on_disk_before_the_first_stamp_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    really = os.fsync

    def fsync(fd: int) -> None:
        synced.append(fd)
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    stamps = StampFile(tmp_path / "deep" / "state", KEY)
    assert not (tmp_path / "deep").exists()
    assert stamps.source.next(NOW) == label(NOW)
    assert len(synced) == 2
    synced.clear()
    path = only_file(tmp_path / "deep" / "state")
    assert int(path.read_text()) == NOW + RESERVE_AHEAD
    # Not a write per handshake.
    for later in range(1, 60):
        stamps.source.next(NOW + later * SECOND)
    assert synced == []
    stamps.source.next(NOW + 61 * SECOND)
    assert len(synced) == 2  # the file, and the folder that names it
    assert int(path.read_text()) == NOW + 61 * SECOND + RESERVE_AHEAD


def test_the_file_tells_no_key_and_is_private(tmp_path: Path) -> None:
    stamps = StampFile(tmp_path / "state", KEY)
    stamps.source.next(NOW)
    path = only_file(tmp_path / "state")
    assert KEY.hex() not in str(path)
    assert KEY.hex() not in path.read_text()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_after_a_crash_with_the_clock_set_back_stamps_still_rise(tmp_path: Path) -> None:
    before = StampFile(tmp_path, KEY).source  # never closed: killed
    last = [before.next(NOW + number * SECOND) for number in range(3)][-1]
    after = StampFile(tmp_path, KEY).source
    assert last < after.next(NOW - 365 * 86400 * SECOND) < after.next(0)


def test_a_clean_end_takes_the_reserve_back(tmp_path: Path) -> None:
    stamps = StampFile(tmp_path, KEY)
    stamps.source.next(NOW)
    stamps.close()
    assert int(only_file(tmp_path).read_text()) == NOW
    again = StampFile(tmp_path, KEY)
    assert again.source.next(NOW + SECOND) == label(NOW + SECOND)
    again.close()
    # And with the clock set back, too.
    assert StampFile(tmp_path, KEY).source.next(NOW - SECOND) > label(NOW + SECOND)


def test_a_node_that_sent_nothing_leaves_the_bound_alone(tmp_path: Path) -> None:
    killed = StampFile(tmp_path, KEY)
    killed.source.next(NOW)
    bound = int(only_file(tmp_path).read_text())
    StampFile(tmp_path, KEY).close()
    assert int(only_file(tmp_path).read_text()) == bound


def test_a_node_that_never_spoke_leaves_no_file(tmp_path: Path) -> None:
    StampFile(tmp_path / "state", KEY).close()
    assert list(tmp_path.iterdir()) == []


def test_each_key_has_its_own(tmp_path: Path) -> None:
    StampFile(tmp_path, KEY).source.next(NOW)
    assert StampFile(tmp_path, b"q" * 32).source.next(0) == label(1 << 24)
    assert len(list(tmp_path.iterdir())) == 2


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_folder_that_cannot_be_written_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")  # not even root makes a folder below a file
    stamps = StampFile(tmp_path / "file" / "state", KEY)
    seen = [stamps.source.next(NOW - number * SECOND) for number in range(200)]
    stamps.source.next(NOW + 100 * SECOND)
    stamps.close()
    assert seen == sorted(set(seen))
    (said,) = warnings(caplog)
    assert str(tmp_path / "file" / "state") in said
    assert "`state_dir`" in said


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\xff\xfe\0",
        b"1.5e9",
        b"-1",
        b"9" * 30,
        b"9" * 5000,
        b"18446744073709551616",
    ],
)
def test_a_corrupt_file_is_a_warning_and_mended(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StampFile(tmp_path, KEY).source.next(NOW)
    path = only_file(tmp_path)
    path.write_bytes(content)
    stamps = StampFile(tmp_path, KEY)
    (said,) = warnings(caplog)
    assert str(path) in said
    assert len(said) < 500
    assert stamps.source.next(NOW) == label(NOW)
    stamps.close()
    assert int(path.read_text()) == NOW


@settings(max_examples=30)
@given(st.binary(max_size=40))
def test_no_content_of_the_file_stops_a_node(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("state")
    StampFile(folder, KEY).source.next(NOW)
    only_file(folder).write_bytes(content)
    source = StampFile(folder, KEY).source
    assert source.next(NOW) < source.next(NOW) < source.next(NOW + SECOND)


def test_a_folder_where_the_file_should_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    StampFile(tmp_path, KEY).source.next(NOW)
    path = only_file(tmp_path)
    path.unlink()
    path.mkdir()
    stamps = StampFile(tmp_path, KEY)
    assert stamps.source.next(NOW) == label(NOW)
    assert len(warnings(caplog)) == 1


def test_a_write_that_fails_leaves_the_old_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stamps = StampFile(tmp_path, KEY)
    stamps.source.next(NOW)
    path = only_file(tmp_path)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    stamps.source.next(NOW + 100 * SECOND)
    assert int(path.read_text()) == NOW + RESERVE_AHEAD
    assert "No space left" in warnings(caplog)[0]


# Where it is.


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_directory(Path("/x/y")) == Path("/x/y")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_directory(None) == Path("/var/lib/wgvx")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/u/state")
    assert state_directory(None) == Path("/home/u/state/wgvx")
    monkeypatch.setenv("HOME", "/home/u")
    for ignored in ("", "relative/state"):  # as the XDG specification wants
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert state_directory(None) == Path("/home/u/.local/state/wgvx")


def test_a_user_without_a_home(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container that is run under any number."""
    monkeypatch.setattr(os, "geteuid", lambda: 61234)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    def nobody(_cls: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nobody))
    assert state_directory(None).is_absolute()
    assert caplog.records == []


# In a node.


def _ahead(offset: int) -> int:
    return time.time_ns() + offset


def test_a_node_restarted_with_its_clock_set_back_is_heard(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_node(config(tmp_path, 2, peer(1), NETWORK)) as far:
            for offset in (0, -3600 * SECOND):
                node = make_node(config(tmp_path, 1, peer(2), NETWORK))
                node.engine.device._wall_clock = partial(_ahead, offset)
                await node.start()
                if offset:
                    # Within 20 ms of the last, an initiation would be refused for its rate.
                    peer_state = far.engine.device._peers[peer_of(far, 1).id]
                    peer_state.last_initiation_accepted = None
                point(node, 2, "127.0.0.1", far.listen_port)
                await deliver(port_of(node), port_of(far), b"heard")
                # Killed: nothing is given back.
                node._stamps.close = lambda: None  # type: ignore[method-assign]
                await node.close()
            assert far.dataplane.drops()[Reason.HANDSHAKE_REPLAY] == 0

    run(scenario())

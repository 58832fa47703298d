"""`--watch`: rates from what a node counts, and how it comes to a terminal or a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.place import PATIENCE, Place, ended
from tests.config.files import PEER
from wgvx.cli.board import Row, fitting, in_a_pipe, rooms
from wgvx.cli.show_watch import LEVELS, ShowView, Watched, trend_of
from wgvx.cli.units import data_rate, data_size, duration, event_rate
from wgvx.control.client import ControlError

KEY = "k" * 43 + "="


def node(started: int = 1000, *, rx: int = 0, tx: int = 0, drops: int = 0, **more: Any) -> Any:
    peer = {"public_key": KEY, "name": "b", "endpoint": None, "latest_handshake": 0}
    network = {"vni": 42, "attach": [], "fdb_entries": 7, "rx_frames": rx // 100, "tx_frames": 0}
    return {
        "name": "a",
        "started": started,
        "listen_port": 51820,
        "dataplane": "native",
        "aead": "x",
        "peers": [{**peer, "rx_bytes": rx, "tx_bytes": tx}],
        "networks": [network],
        "drops": {"no_route": drops, "ttl": 0},
        **more,
    }


def table(watched: Watched, section: int) -> list[str]:
    """The cells of a table's first row."""
    row = watched.board(1100).sections[section].rows[0]
    return [cell if isinstance(cell, str) else cell.text for cell in row.cells]


def test_rates() -> None:
    watched = Watched()
    watched.see(node(rx=1000, drops=3), 10.0)
    assert table(watched, 0)[:5] == ["b", "none", "never", "-", "-"]
    assert table(watched, 2) == ["no_route", "0", "3"]
    watched.see(node(rx=26000, tx=125, drops=8), 12.0)
    assert table(watched, 0)[3:] == ["100 kbit/s", "500 bit/s", "25.4 KiB", "125 B", " @"]
    assert table(watched, 1) == ["42", "none", "7", "125", "0", "260", "0"]
    assert table(watched, 2) == ["no_route", "2.5", "8"]
    assert [cell.text for cell in watched.board(1100).title][-1] == "up 100 s"
    # It began anew, even if it has counted more already.
    watched.see(node(1099, rx=99000), 13.0)
    assert table(watched, 0)[3:6] == ["-", "-", "96.7 KiB"]
    assert len(watched.board(1100).sections) == 2
    # A peer that is new, and one that was removed.
    watched.see(node(1099, peers=[]), 14.0)
    watched.see(node(1099, rx=99000), 15.0)
    assert table(watched, 0)[3:] == ["-", "-", "96.7 KiB", "0 B", " "]


def test_a_blocked_port_is_marked() -> None:
    told = node()
    attach = [{"name": "blue0"}, {"name": "vm1"}]
    seen = {"blocked": [{"port": "vm1", "seconds": 8, "way": ""}]}
    told["networks"][0] |= {"attach": attach, "quiet": {"loop_detection": seen}}
    watched = Watched()
    watched.see(told, 10.0)
    assert table(watched, 1)[1] == "blue0, vm1 (blocked)"


@given(st.lists(st.floats(0, 1e12), max_size=20))
def test_a_trend_shows_whatever_there_is(rates: list[float]) -> None:
    trend = trend_of(rates)
    assert len(trend) == len(rates)
    for one, level in zip(rates, trend, strict=True):
        assert (level == " ") == (one == 0)
        assert one != max(rates) or level == LEVELS[-1] or one == 0


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(0, 40))
def test_the_heaviest_rows_are_shown_in_their_order(weights: list[float], room: int) -> None:
    rows = [Row((str(n),), weight) for n, weight in enumerate(weights)]
    shown, left_out = fitting(rows, room)
    assert len(shown) + left_out == len(rows)
    assert len(shown) + bool(left_out) <= max(room, 2)
    assert shown == sorted(shown, key=rows.index)
    lightest = min((row.weight for row in shown), default=0)
    assert all(row.weight <= lightest for row in rows if row not in shown)


@given(st.lists(st.integers(0, 100), max_size=6), st.integers(0, 200))
def test_small_tables_leave_the_others_their_room(counts: list[int], lines: int) -> None:
    given_ = rooms(counts, lines)
    assert sum(given_) <= max(lines, len(counts))
    assert all(room <= max(1, count) for room, count in zip(given_, counts, strict=True))
    if sum(max(1, count) for count in counts) <= lines:
        assert given_ == [max(1, count) for count in counts]


def test_units() -> None:
    assert [data_rate(n) for n in (None, 0, 100, 12_500_000, 1.25e9)] == [
        *("-", "0 bit/s", "800 bit/s", "100 Mbit/s", "10.00 Gbit/s")
    ]
    assert [data_size(n) for n in (0, 1023, 1024, 1 << 50)] == [
        *("0 B", "1023 B", "1.0 KiB", "1024.0 TiB")
    ]
    assert [duration(n) for n in (-1, 119, 120, 7200, 172800)] == [
        *("0 s", "119 s", "2 min", "2 h", "2 d")
    ]
    assert [event_rate(n) for n in (None, 0, 0.5, 12.3)] == ["-", "0", "0.5", "12"]


def test_a_node_that_stops_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([[node()], ControlError("node a ended"), [node(2000)]])

    def ask() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    view = ShowView(ask)
    for said in ("node a  port", "waiting: node a ended", "node a  port"):
        view.look()
        view.in_a_pipe()
        assert said in capsys.readouterr().out


def test_2000_peers_fit_on_a_screen() -> None:
    from rich.console import Console

    peer = node()["peers"][0]
    many = [{**peer, "public_key": str(n), "name": f"peer{n}"} for n in range(2000)]
    busy = [{**one, "rx_bytes": 1000 if n == 1500 else 0} for n, one in enumerate(many)]
    answers = iter([[node(peers=many)], [node(peers=busy)]])
    view = ShowView(lambda: next(answers))
    started = time.monotonic()
    for _ in range(2):
        view.look()
        time.sleep(0.001)
        console = Console(width=100, height=24, record=True, file=io.StringIO())
        console.print(view.on_screen(24))
    lines = console.export_text().splitlines()
    assert len(lines) <= 24
    assert "peer1500" in "".join(lines)
    assert re.search(r"and 19\d\d more", "".join(lines))
    assert "q: leave" in lines[-1]
    assert time.monotonic() - started < 1


class Screen:
    """A command on a terminal."""

    def __init__(self, place: Place, *arguments: str) -> None:
        self.fd, self.theirs = pty.openpty()
        self.resize(24, 100)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            place.command(*arguments),
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            cwd="/",
            env={**place.env, "TERM": "xterm-256color"},
        )
        self.text = ""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, condition: Callable[[str], bool]) -> str:
        """What came on the screen until it was so."""
        self.text = ""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536).decode()
        return self.text

    def leaves(self) -> int:
        """The exit status, the terminal as it was before."""
        status = self.process.wait(PATIENCE)
        self.until(lambda text: text.endswith("\x1b[?1049l\x1b[?25h"))
        assert termios.tcgetattr(self.theirs) == self.before
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)
        os.close(self.theirs)


@contextlib.contextmanager
def on_screen(place: Place, *arguments: str) -> Iterator[Screen]:
    with contextlib.closing(Screen(place, *arguments)) as screen:
        yield screen


def test_on_a_terminal(place: Place) -> None:
    place.write("a", (place.folder / "wgvx" / "a.toml").read_text() + PEER)
    place.own()
    process = place.up()
    with on_screen(place, "show", "a", "--watch", "0.2") as screen:
        screen.until(lambda text: "node a" in text and "handshake" in text and "q: leave" in text)
        # Wide enough for one line of a screen of 100 columns, and then of 60.
        screen.resize(10, 60)
        screen.process.send_signal(signal.SIGWINCH)
        screen.until(lambda text: "\r\n" in text and len(text.split("\r\n")[-2]) <= 61)
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
        screen.until(lambda text: "waiting: no node a is running" in text)
        again = place.up()
        # A header may be cut on so narrow a screen, by what rates there are to show.
        screen.until(lambda text: "handsha" in text)
        os.write(screen.fd, b"xq")
        assert screen.leaves() == 0
    for number, status in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):
        with on_screen(place, "show", "--watch") as screen:
            screen.until(lambda text: "node a" in text)
            screen.process.send_signal(number)
            assert screen.leaves() == status
    again.send_signal(signal.SIGTERM)
    assert ended(again)[0] == 0


def test_in_a_pipe(place: Place) -> None:
    assert place.wgvx("show", "a", "--watch").returncode == 1
    process = place.up()
    for arguments, beginning in ((("--json",), '{"name": "a"'), ((), "")):
        watching = place.start("show", "a", "--watch", "0.1", *arguments)
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(3)]
        assert all(line.startswith(beginning) for line in lines)
        if arguments:
            assert [json.loads(line)["listen_port"] for line in lines] == [place.port] * 3
        else:
            assert re.match(rf"[0-9:]{{8}}  node a  port {place.port}  ", lines[0])
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=PATIENCE)
        assert (watching.returncode, err) == (0, "")
        assert "\x1b" not in "".join(lines) + out
    for bad in ("0", "x", "nan", "4000"):
        assert place.wgvx("show", "a", "--watch", bad).returncode == 2
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    in_a_pipe([])
    assert capsys.readouterr().out == "\n"


def test_a_table_is_followed_until_somebody_leaves(place: Place) -> None:
    assert place.wgvx("fdb", "a", "--watch").returncode == 1
    process = place.up()
    with on_screen(place, "fdb", "a", "--watch", "0.2") as screen:
        for _ in range(200):
            os.write(screen.fd, b"q")  # What is typed before it begins is not read.
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert screen.process.wait(0.1) == 0
                break
        assert termios.tcgetattr(screen.theirs) == screen.before
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0

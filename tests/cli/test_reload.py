"""A running node reads its file again: `wgvx reload`, SIGHUP, and what is none of either."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess

import pytest

from tests.cli.place import PATIENCE, Place, ended, eventually, line
from tests.config.files import PEER, PSK


def edit(place: Place, more: str) -> None:
    """Let the file of node `a` have something more at its end."""
    path = place.folder / "wgvx" / "a.toml"
    place.write("a", path.read_text() + more)
    place.own()


def peers(place: Place) -> list[str | None]:
    shown = json.loads(place.wgvx("show", "a", "--json").stdout)
    return [peer["name"] for peer in shown["peers"]]


@pytest.mark.parametrize("arguments", [(), ("--confine", "none"), ("--dataplane", "reference")])
def test_reload(place: Place, arguments: tuple[str, ...]) -> None:
    process = place.up(*arguments)
    same = place.wgvx("reload", "a")
    assert (same.returncode, same.stdout, same.stderr) == (0, "nothing has changed\n", "")
    (place.folder / "wgvx" / "ab.psk").write_text(PSK + "\n")
    (place.folder / "wgvx" / "ab.psk").chmod(0o644)
    edit(place, PEER + 'preshared_key_file = "ab.psk"\n')
    done = place.wgvx("reload", str(place.folder / "wgvx" / "a.toml"))
    assert (done.returncode, done.stdout) == (0, 'peer "b": added\n')
    assert "wgvx: warning: others can read" in done.stderr
    assert PSK not in done.stderr
    assert peers(place) == ["b"]
    edit(place, "endpont = 7\n")
    bad = place.wgvx("reload", "a")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "a.toml:" in bad.stderr
    assert 'endpont: there is no such key; did you mean "endpoint"?' in bad.stderr
    assert peers(place) == ["b"]
    process.send_signal(signal.SIGTERM)
    status, said = ended(process)
    assert status == 0
    assert "wgvx: reloaded: nothing has changed\n" in said
    assert 'wgvx: reloaded: peer "b": added\n' in said


def test_reload_of_none(place: Place) -> None:
    assert place.wgvx("reload", "a").returncode == 1


def test_sighup(place: Place) -> None:
    process = place.up()
    edit(place, PEER)
    process.send_signal(signal.SIGHUP)
    eventually(lambda: peers(place) == ["b"])
    edit(place, "x = 1\n")
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    said = ""
    while "not reloaded" not in said:
        ready, _, _ = select.select([process.stderr], [], [], PATIENCE)
        assert ready
        said = process.stderr.readline()
    assert "x: there is no such key" in said
    assert peers(place) == ["b"]
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_the_end_of_its_terminal_is_a_nodes_end(place: Place) -> None:
    """What a closed window or a lost connection does, unlike somebody's SIGHUP."""
    ours, theirs = pty.openpty()
    process = place.start("up", "a", stdin=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    assert line(process) == "wgvx: a ready"
    edit(place, PEER)
    process.send_signal(signal.SIGHUP)
    eventually(lambda: peers(place) == ["b"])
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(PATIENCE) == 0
    assert place.left() == []

"""TAPs that are passed in: which one each descriptor is, and how it is used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import lab  # noqa: F401 - a fixture, found by its name
from tests.netns.lab import Lab, Namespace
from wgvx.ports import passed, tun
from wgvx.ports.errors import PortError
from wgvx.ports.passed import assign, named_descriptors, passed_tap

BARE = tun.IFF_TAP | tun.IFF_NO_PI


class Taps:
    """TAPs in a namespace, each with the descriptor that its maker passes on."""

    def __init__(self, host: Namespace) -> None:
        self.host = host
        self.fds: list[int] = []

    def make(self, name: str, flags: int = BARE) -> int:
        with self.host.entered():
            self.fds.append(tun.open_node())
            tun.attach(self.fds[-1], name, flags)
        return self.fds[-1]


@pytest.fixture
def taps(lab: Lab) -> Iterator[Taps]:  # noqa: F811
    made = Taps(lab.host("t"))
    yield made
    for fd in made.fds:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.mark.netns
def test_each_descriptor_finds_its_tap(taps: Taps) -> None:
    blue, red = taps.make("blue0"), taps.make("red0")
    assert assign({red: None, blue: None}, ["blue0", "red0"]) == {"blue0": blue, "red0": red}
    assert assign({red: "blue0", blue: "red0"}, ["blue0", "red0"]) == {"blue0": red, "red0": blue}
    assert assign({red: None}, ["other"]) == {"other": red}
    assert assign({red: None, blue: None}, ["blue0", "other"]) == {"blue0": blue, "other": red}
    assert assign({}, ["blue0"]) == {}


@pytest.mark.netns
def test_a_descriptor_without_a_tap_in_the_file_is_refused(taps: Taps) -> None:
    blue = taps.make("blue0")
    with pytest.raises(PortError, match="the file has no such TAP: it has x, y"):
        assign({blue: "z"}, ["x", "y"])
    with pytest.raises(PortError, match=f"it is blue0, .* say which one .* NAME={blue}"):
        assign({blue: None}, ["x", "y"])


@pytest.mark.netns
@pytest.mark.parametrize("header", [0, tun.IFF_VNET_HDR], ids=["bare", "virtio"])
def test_frames_pass_whatever_the_header(taps: Taps, header: int) -> None:
    fd = taps.make("blue0", BARE | header)
    taps.host.ip("link", "set", "blue0", "address", "02:00:00:00:00:01", "up")
    os.set_blocking(fd, True)
    port = passed_tap(fd, "x", 1350)
    assert port.mac == bytes.fromhex("020000000001")
    assert port.vnet_header == bool(header)
    assert not os.get_blocking(fd)
    assert port.write(bytes(60))
    port.close()


@pytest.mark.netns
@pytest.mark.parametrize("flags", [tun.IFF_TAP, 0x0001 | tun.IFF_NO_PI], ids=["with PI", "TUN"])
def test_what_carries_no_bare_frames_is_refused(taps: Taps, flags: int) -> None:
    fd = taps.make("blue0", flags)
    with pytest.raises(PortError, match="no TAP"):
        passed_tap(fd, "x", 1350)


def test_what_is_no_tap_is_refused() -> None:
    with Path(os.devnull).open() as file, pytest.raises(PortError, match="it is no TAP"):
        assign({file.fileno(): None}, ["x"])


def test_descriptors_of_systemd_have_names() -> None:
    environ = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "blue:red"}
    first = passed.FIRST_PASSED
    assert named_descriptors(environ, 7) == {"blue": first, "red": first + 1}
    assert named_descriptors(environ, 8) == {}
    assert named_descriptors({}, 7) == {}
    assert named_descriptors(environ | {"LISTEN_FDS": "many"}, 7) == {}

"""The port without a device."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from wgvx.ports.errors import PortGone
from wgvx.ports.memory import MemoryPort

MAC = bytes.fromhex("020000000001")


@pytest.fixture
def port() -> Iterator[MemoryPort]:
    made = MemoryPort("m0", MAC, 1350, capacity=3)
    yield made
    made.close()


def readable(port: MemoryPort) -> bool:
    return bool(select.select([port], [], [], 0)[0])


def test_injected_frames_are_read_in_order(port: MemoryPort) -> None:
    assert not readable(port)
    assert port.read() is None
    assert port.inject(b"one")
    assert port.inject(b"two")
    assert readable(port)
    assert port.read() == b"one"
    assert readable(port)
    assert port.read() == b"two"
    assert not readable(port)
    assert port.read() is None


def test_written_frames_are_taken_in_order(port: MemoryPort) -> None:
    assert port.write(b"one")
    assert port.write(b"two")
    assert port.take() == [b"one", b"two"]
    assert port.take() == []


def test_both_queues_are_bounded(port: MemoryPort) -> None:
    assert [port.write(b"x") for _ in range(5)] == [True, True, True, False, False]
    assert [port.inject(b"x") for _ in range(5)] == [True, True, True, False, False]
    port.take()
    port.read()
    assert port.write(b"x")
    assert port.inject(b"x")


def test_a_vanished_port_wakes_its_reader_and_is_gone(port: MemoryPort) -> None:
    port.inject(b"never read")
    port.read()
    port.vanish()
    assert readable(port)
    with pytest.raises(PortGone):
        port.read()
    with pytest.raises(PortGone):
        port.write(b"x")


def test_close_is_idempotent_and_keeps_what_was_written(port: MemoryPort) -> None:
    port.write(b"x")
    port.close()
    port.close()
    assert port.take() == [b"x"]
    with pytest.raises(PortGone):
        port.read()
    with pytest.raises(PortGone):
        port.inject(b"x")


def test_what_a_port_says_of_itself(port: MemoryPort) -> None:
    assert (port.type, port.name, port.mac, port.mtu) == ("memory", "m0", MAC, 1350)

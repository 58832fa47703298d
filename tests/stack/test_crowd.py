"""More connections than there is room for: what is kept is bounded, and one source does not crowd
out the others.
"""

from __future__ import annotations

import socket

import pytest

from tests.stack.frames import ACK, FIN, PORT, SYN, segment
from tests.stack.wire import (
    Wire,
    assert_alive,
    introduce,
    introduced,
    on_wire,
    open_from,
    syn_acks,
)
from wgvx.stack.glue import Connection

pytestmark = pytest.mark.usefixtures("built")

ANOTHER, THIRD = "10.0.0.3", "10.0.0.4"


def accepting(wire: Wire) -> list[Connection]:
    held: list[Connection] = []
    wire.stack.listen(None, PORT, lambda connection, _: held.append(connection))
    introduced(wire)
    for source in (ANOTHER, THIRD):
        introduce(wire, source)
    return held


def test_a_flood_of_syns_keeps_nobody_out() -> None:
    async def test(wire: Wire) -> None:
        held = accepting(wire)
        for port in range(1000, 2000):
            wire.send(segment(4, SYN, port=port))
            wire.turn()
            wire.received()
            if port == 1500:
                # In the middle of it somebody else begins, and takes a while.
                wire.send(segment(4, SYN, port=7, source=ANOTHER))
                wire.turn()
                ((port_, number),) = syn_acks(wire.received())
                assert port_ == 7
        assert wire.stack.counters()["handshakes_full"] == 1001 - 128
        wire.send(segment(4, ACK, port=7, seq=2, ack=number + 1 & 0xFFFFFFFF, source=ANOTHER))
        wire.turn()
        assert len(held) == wire.stack.connections == 1
        assert_alive(wire)
        held[0].close()

    on_wire(test)


def test_one_source_has_its_share_of_connections_and_no_more() -> None:
    async def test(wire: Wire) -> None:
        held = accepting(wire)
        for port in range(1000, 1100):
            open_from(wire, port)
        assert len(held) == wire.stack.connections == 64 // 8
        assert wire.stack.counters()["connections_refused"] == 100 - 8
        assert open_from(wire, 7, ANOTHER)
        assert len(held) == wire.stack.connections == 9
        for connection in held:
            connection.close()
        assert wire.stack.connections == 0
        for port in range(2000, 2008):  # What they counted for is given back.
            assert open_from(wire, port)
        assert wire.stack.connections == 8
        assert_alive(wire)

    on_wire(test, connections=64)


def test_who_has_most_gives_way_to_who_has_little() -> None:
    async def test(wire: Wire) -> None:
        accepting(wire)
        crowd = [f"10.0.0.{number}" for number in range(100, 110)]
        for source in crowd:
            introduce(wire, source)
            for port in range(1000, 1008):
                open_from(wire, port, source)
        # Half of 64 are for those that come; whoever of the ten is late takes from the early.
        assert wire.stack.connections == 32
        before = wire.stack.counters()["connections_gave_way"]
        wire.received()
        assert open_from(wire, 7, ANOTHER)
        assert wire.stack.connections == 32
        assert wire.stack.counters()["connections_gave_way"] == before + 1
        assert open_from(wire, 7, THIRD)
        assert wire.stack.connections == 32
        assert_alive(wire)

    on_wire(test, connections=64)


def test_ways_out_are_left_when_all_that_come_have_theirs() -> None:
    async def test(wire: Wire) -> None:
        accepting(wire)
        for number in range(100, 110):
            introduce(wire, f"10.0.0.{number}")
            for port in range(1000, 1008):
                open_from(wire, port, f"10.0.0.{number}")
        lib, packed = wire.stack._lib, wire.stack._packed
        far = packed(wire.stack._addresses[0].ip + 1, 80)
        assert sum(bool(lib.stack_connect(wire.stack._stack, far)) for _ in range(40)) == 32
        assert wire.stack.connections == 64

    on_wire(test, connections=64)


def hang_up(held: list[Connection]) -> None:
    """The host of the connection that has just come closes at once."""
    host, ours = socket.socketpair()
    with ours:
        ours.setblocking(False)
        held.pop().join(ours)
        host.close()


def test_time_wait_is_bounded() -> None:
    async def test(wire: Wire) -> None:
        held = accepting(wire)
        for port in range(1000, 2200):
            acknowledged = open_from(wire, port)
            hang_up(held)
            wire.turn()
            ends = acknowledged + 1 & 0xFFFFFFFF
            wire.send(segment(4, FIN | ACK, port=port, seq=2, ack=ends))
            wire.turn()
        assert wire.stack.connections == 0
        # The last one is looked after when the next one comes.
        assert wire.stack.counters()["time_wait_full"] == 1200 - 1 - 1024
        assert_alive(wire)

    on_wire(test)


def test_those_whose_end_is_never_acknowledged_are_bounded() -> None:
    async def test(wire: Wire) -> None:
        held = accepting(wire)
        for port in range(1000, 1400):
            acknowledged = open_from(wire, port)
            wire.send(segment(4, FIN | ACK, port=port, seq=2, ack=acknowledged))
            hang_up(held)
            wire.turn()
            wire.turn()
        assert wire.stack.connections == 0
        assert wire.stack.counters()["orphans_full"] == 400 - 1 - 256
        assert_alive(wire)

    on_wire(test)


def test_hosts_that_do_not_read_do_not_fill_the_memory() -> None:
    async def test(wire: Wire) -> None:
        held = accepting(wire)
        data = bytes(1200)
        for number in range(300):
            source = f"10.0.0.{20 + number % 3}"
            if number < 3:
                introduce(wire, source)
            acknowledged = open_from(wire, 1000 + number, source)
            assert acknowledged
            host, ours = socket.socketpair()
            wire.hosts.append(host)
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            held.pop().join(ours)
            for position in range(0, 500_000, len(data)):
                seq = 2 + position
                port = 1000 + number
                wire.send(
                    segment(4, ACK, port=port, seq=seq, ack=acknowledged, data=data, source=source)
                )
            wire.turn()
            wire.received()
            if wire.stack.counters()["memory_full"]:
                break
        assert 200 < number < 290  # 128 MiB of half a mebibyte each
        # One is enough, and the others go on.
        assert wire.stack.counters()["memory_full"] == 1
        assert wire.stack.connections == number
        assert_alive(wire)

    on_wire(test)

"""What is lost on the way out is sent again as soon as the far end says that it is missing: no
time-out is waited for.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable

import pytest

from tests.stack.frames import ACK, PORT, TCP, segment
from tests.stack.wire import Wire, assert_alive, introduced, on_wire, open_from
from wgvx.stack.glue import Connection

pytestmark = pytest.mark.usefixtures("built")

SCALED_WINDOW = 65535 << 7
MSS = 1310


class Receiver:
    """A far end without a clock: it has what was sent, but for what ``loses(number, times)`` says,
    and acknowledges each segment at once. ``sack``: it says what else it has."""

    def __init__(self, wire: Wire, loses: Callable[[int, int], bool], *, sack: bool) -> None:
        self.wire, self._loses, self._sack = wire, loses, sack
        held: list[Connection] = []
        wire.stack.listen(None, PORT, lambda connection, _: held.append(connection))
        introduced(wire)
        self._begin = self._next = open_from(wire, 4000)
        self.host, ours = socket.socketpair()
        wire.hosts.append(self.host)
        for end in (self.host, ours):
            end.setblocking(False)
        held.pop().join(ours)
        self._pieces: dict[int, bytes] = {}
        self.data = b""
        self.sent: dict[int, int] = {}
        """How often each byte's segment was sent, by its offset."""

    def turn(self) -> None:
        """One round trip."""
        self.wire.turn()
        for frame in self.wire.received():
            if frame[23] == TCP and len(frame) > 54:
                self._take(frame)
        self.wire.turn()

    def _take(self, frame: bytes) -> None:
        (number,) = struct.unpack_from("!I", frame, 38)
        data = frame[34 + (frame[46] >> 4) * 4 : 14 + int.from_bytes(frame[16:18], "big")]
        offset = number - self._begin & 0xFFFFFFFF
        self.sent[offset] = self.sent.get(offset, 0) + 1
        if not data or self._loses(offset // MSS, self.sent[offset]):
            return
        if offset >= len(self.data):
            self._pieces[offset] = data
        while (piece := self._pieces.pop(len(self.data), None)) is not None:
            self.data += piece
        self.acknowledge(self._blocks(offset) if self._sack else [])

    def _blocks(self, last: int) -> list[tuple[int, int]]:
        """The latest first, RFC 2018, section 4."""
        found: list[tuple[int, int]] = []
        for offset in sorted(self._pieces):
            end = offset + len(self._pieces[offset])
            if found and found[-1][1] == offset:
                found[-1] = found[-1][0], end
            else:
                found.append((offset, end))
        found.sort(key=lambda block: not block[0] <= last < block[1])
        return found[:4]

    def acknowledge(self, blocks: list[tuple[int, int]]) -> None:
        options = b""
        if blocks:
            options = bytes((1, 1, 5, 2 + 8 * len(blocks)))
            for block in blocks:
                options += b"".join(
                    (self._begin + edge & 0xFFFFFFFF).to_bytes(4, "big") for edge in block
                )
        ack = self._begin + len(self.data) & 0xFFFFFFFF
        self.wire.send(segment(4, ACK, port=4000, seq=2, ack=ack, options=options))


def passes(loses: Callable[[int, int], bool], *, sack: bool = True, turns: int = 400) -> Receiver:
    """Send through a stack to such a receiver, within so many round trips and no time at all."""
    data = random.Random(1).randbytes(200 * MSS)
    made: list[Receiver] = []

    async def test(wire: Wire) -> None:
        receiver = Receiver(wire, loses, sack=sack)
        made.append(receiver)
        left = data
        for _ in range(turns):
            if left:
                left = left[receiver.host.send(left[:50_000]) :]
            receiver.turn()
            if len(receiver.data) == len(data):
                break
        assert receiver.data == data
        assert_alive(wire)

    on_wire(test)
    return made[0]


def test_without_losses_nothing_is_sent_twice() -> None:
    receiver = passes(lambda *_: False)
    assert set(receiver.sent.values()) == {1}


@pytest.mark.parametrize("sack", [True, False])
def test_several_losses_in_one_window_are_all_sent_again(sack: bool) -> None:
    lost = {60, 63, 64, 70, 81}
    receiver = passes(lambda number, times: number in lost and times == 1, sack=sack)
    again = {offset // MSS for offset, times in receiver.sent.items() if times > 1}
    assert lost <= again
    if sack:
        assert again == lost


def test_what_is_lost_a_second_time_is_sent_a_third_time() -> None:
    receiver = passes(lambda number, times: number in (60, 64) and times <= 2)
    assert {offset // MSS for offset, times in receiver.sent.items() if times == 3} == {60, 64}


@pytest.mark.parametrize("seed", range(5))
def test_where_much_is_lost_it_arrives_all_the_same(seed: int) -> None:
    chance = random.Random(seed)
    lost = {(number, times) for number in range(190) for times in (1, 2) if chance.random() < 0.04}
    receiver = passes(lambda *sent: sent in lost)
    assert max(receiver.sent.values()) <= 4


def test_acknowledgements_of_what_was_never_sent_are_not_believed() -> None:
    async def test(wire: Wire) -> None:
        receiver = Receiver(wire, lambda *_: False, sack=True)
        receiver.host.send(bytes(20 * MSS))
        wire.turn()
        wire.received()
        chance = random.Random(1)
        for _ in range(2000):
            edges = [chance.randrange(-(2**31), 2**31) for _ in range(8)]
            near = [chance.randrange(-10, 30) * MSS for _ in range(8)]
            mixed = [chance.choice(pair) for pair in zip(edges, near, strict=True)]
            receiver.acknowledge(
                list(zip(mixed[::2], mixed[1::2], strict=True))[: chance.randrange(5)]
            )
            wire.turn()
            wire.received()
        assert_alive(wire)

    on_wire(test)

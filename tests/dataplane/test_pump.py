"""The second level, fused with IO, does what the first does on buffers."""

from __future__ import annotations

from hypothesis import given

from tests.dataplane.conftest import DataPlaneClass
from tests.dataplane.mixture import Out, Step, datagrams, events, prepare, state, steps
from tests.dataplane.rig import PORT, US, VNI, Rig, carrying, frame_to, mac, tunnel
from wgvx.dataplane.interface import Burst, Datagram, DatagramSocket, FramePort
from wgvx.drops import Reason


class Queue(FramePort, DatagramSocket):
    """Either end of a data plane: packets to be taken in, and packets put out."""

    def __init__(self) -> None:
        self.frames_in: list[bytes] = []
        self.frames_out: list[bytes] = []
        self.datagrams_in: list[Datagram] = []
        self.datagrams_out: list[Datagram] = []

    def read(self) -> bytes | None:
        return self.frames_in.pop(0) if self.frames_in else None

    def write(self, frame: bytes) -> bool:
        self.frames_out.append(frame)
        return True

    def receive(self, budget: int) -> list[Datagram]:
        taken, self.datagrams_in = self.datagrams_in[:budget], self.datagrams_in[budget:]
        return taken

    def send(self, datagram: Datagram) -> Reason | None:
        self.datagrams_out.append(datagram)
        return None

    def send_whole(self, datagram: Datagram) -> Reason | None:
        return self.send(datagram)


def connected(rig: Rig) -> Queue:
    """One queue as port and as socket of both families."""
    queue = Queue()
    rig.dataplane.connect_port(PORT, queue)
    rig.dataplane.connect_socket(4, queue)
    rig.dataplane.connect_socket(16, queue)
    return queue


@given(sequence=steps)
def test_pumping_equals_the_first_level(
    dataplane_class: DataPlaneClass, sequence: list[Step]
) -> None:
    pumped, by_hand = (Rig(dataplane_class, peers=3, forward=True) for _ in range(2))
    prepare(pumped)
    prepare(by_hand)
    queue = connected(pumped)
    bursts, expected = [], []
    for step in sequence:
        if isinstance(step, Out):
            queue.frames_in.append(step.frame)
            bursts.append(pumped.dataplane.pump_port(PORT, pumped.now, 64))
            expected.append(by_hand.transmit(step.frame))
        else:
            queue.datagrams_in += datagrams(pumped, step)
            bursts.append(pumped.dataplane.pump_socket(queue, pumped.now, 64))
            expected.append(by_hand.dataplane.receive(datagrams(by_hand, step), by_hand.now))
    assert all(not burst.frames and not burst.datagrams for burst in bursts)
    assert queue.frames_out == [frame for burst in expected for _, frame in burst.frames]
    assert queue.datagrams_out == [d for burst in expected for d in burst.datagrams]
    assert events(bursts) == events(expected)
    assert state(pumped) == state(by_hand)


def test_a_budget_is_kept_and_the_rest_stays(rig: Rig) -> None:
    rig.dataplane.fdb_add(VNI, mac(2), tunnel(2))
    queue = connected(rig)
    queue.frames_in = [frame_to(2, US)] * 5
    queue.datagrams_in = [rig.peer.seal(carrying(frame_to(US))) for _ in range(5)]
    for done in (2, 4, 5, 5):
        rig.dataplane.pump_port(PORT, rig.now, 2)
        rig.dataplane.pump_socket(queue, rig.now, 2)
        assert len(queue.datagrams_out) == len(queue.frames_out) == done


def test_flush_puts_out_what_handshakes_left(rig: Rig) -> None:
    queue = connected(rig)
    rig.dataplane.send_staged(2, rig.now, or_keepalive=True)
    assert queue.datagrams_out == []
    assert rig.dataplane.flush() == Burst()
    assert [len(d.data) for d in queue.datagrams_out] == [32]
    assert rig.dataplane.flush() == Burst()
    assert len(queue.datagrams_out) == 1


def test_a_turn_is_short_however_many_copies_a_frame_makes(dataplane_class: DataPlaneClass) -> None:
    rig = Rig(dataplane_class, peers=40)
    for number in rig.peers:
        rig.dataplane.fdb_add(VNI, bytes(6), tunnel(number))
    queue = connected(rig)
    queue.frames_in = [frame_to(b"\xff" * 6, US)] * 64
    rig.dataplane.pump_port(PORT, rig.now, 16)
    assert len(queue.datagrams_out) == 80, "2 frames of 40 copies pass 4 times 16"
    assert len(queue.frames_in) == 62

"""Copies of what passes: exactly that, and within bounds."""

from __future__ import annotations

import pytest

from tests.dataplane.rig import MTU, PORT, US, VNI, Rig, carrying, frame_to, mac, tunnel
from tests.support.dataplanes import DataPlaneClass
from wgvx.dataplane.captured import CAPTURE_ROOM, NO_CAPTURE, Capture, Captured, Passed
from wgvx.vxlan.fdb import FLOOD
from wgvx.vxlan.vtep import Forwarding

BOTH = Capture.FRAMES | Capture.DATAGRAMS
WHOLE = 65536
TOS = 2  # ECT(0), which a frame without IP ignores


@pytest.fixture
def rig(dataplane_class: DataPlaneClass) -> Rig:
    rig = Rig(dataplane_class)
    rig.dataplane.fdb_add(VNI, FLOOD, tunnel(2))
    return rig


def what(copies: list[Captured]) -> list[tuple[Passed, bytes]]:
    return [(copy.what, copy.data) for copy in copies]


def test_both_ways_in_and_out(rig: Rig) -> None:
    rig.dataplane.set_capture(BOTH, WHOLE)
    there, back = frame_to(9, US), frame_to(US, 9)
    out = rig.transmit(there)
    sealed = rig.peer.seal(carrying(back), tos=TOS)
    assert rig.dataplane.receive([sealed], rig.now + 5).frames == [(PORT, back)]
    copies, lost = rig.dataplane.take_captured()
    assert what(copies) == [
        (Passed.FRAME_IN, there),
        (Passed.DATAGRAM_OUT, out.datagrams[0].data),
        (Passed.DATAGRAM_IN, sealed.data),
        (Passed.FRAME_OUT, back),
    ]
    assert [copy.at - rig.now for copy in copies] == [0, 0, 5, 5]
    assert [copy.port for copy in copies] == [PORT, 0, 0, PORT]
    assert [copy.endpoint for copy in copies] == [None, *[rig.peer.endpoint] * 2, None]
    assert [copy.tos for copy in copies] == [0, 0, TOS, 0]
    assert lost == 0
    assert rig.dataplane.take_captured() == ([], 0)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (Capture.FRAMES, [Passed.FRAME_IN]),
        (Capture.DATAGRAMS, [Passed.DATAGRAM_OUT]),
        (NO_CAPTURE, []),
    ],
)
def test_only_what_is_asked_for(rig: Rig, kinds: Capture, expected: list[Passed]) -> None:
    rig.dataplane.set_capture(BOTH, WHOLE)
    rig.transmit(frame_to(9, US))
    rig.dataplane.take_captured()
    rig.dataplane.set_capture(kinds, WHOLE)
    rig.transmit(frame_to(9, US))
    assert [copy.what for copy in rig.dataplane.take_captured()[0]] == expected


def test_what_is_refused_was_there(rig: Rig) -> None:
    rig.dataplane.set_capture(BOTH, WHOLE)
    rig.transmit(b"short")
    rig.hear(b"nonsense")
    assert what(rig.dataplane.take_captured()[0]) == [
        (Passed.FRAME_IN, b"short"),
        (Passed.DATAGRAM_IN, b"nonsense"),
    ]


def test_handshakes_answers_and_what_features_send(rig: Rig) -> None:
    rig.dataplane.set_capture(BOTH, WHOLE)
    rig.dataplane.send_handshake(2, b"\1" * 148, rig.now)
    rig.dataplane.reply(rig.peer.endpoint, b"\3" * 64)
    rig.dataplane.send_frame(VNI, Forwarding((PORT,), (tunnel(2),)), frame_to(US, 9), rig.now)
    copies, _ = rig.dataplane.take_captured()
    sent = rig.dataplane.take().datagrams
    assert what(copies) == [
        (Passed.DATAGRAM_OUT, b"\1" * 148),
        (Passed.DATAGRAM_OUT, b"\3" * 64),
        (Passed.FRAME_OUT, frame_to(US, 9)),
        (Passed.DATAGRAM_OUT, sent[2].data),
    ]
    assert copies[0].tos == sent[0].tos != 0


def test_no_more_than_the_beginning(rig: Rig) -> None:
    rig.dataplane.set_capture(Capture.FRAMES, 20)
    frame = frame_to(9, US, bytes(range(99)))
    rig.transmit(frame)
    (copy,) = rig.dataplane.take_captured()[0]
    assert (copy.length, copy.data) == (len(frame), frame[:20])


def test_what_has_no_room_is_counted(rig: Rig) -> None:
    rig.dataplane.set_capture(Capture.FRAMES, WHOLE)
    frame = frame_to(9, US, bytes(MTU - 100))
    most = CAPTURE_ROOM // len(frame) + 1
    for _ in range(most):
        rig.transmit(frame)
    copies, lost = rig.dataplane.take_captured()
    assert 0 < lost < most // 8
    assert len(copies) + lost == most
    rig.transmit(frame)
    assert rig.dataplane.take_captured() == ([copies[0]], 0)


def test_a_large_frame_is_as_the_tap_had_it(rig: Rig) -> None:
    native = getattr(rig.dataplane, "transmit_large", None)
    if native is None:
        return  # The reference is given frames cut.
    frame = frame_to(9, US, bytes(40000))
    rig.dataplane.set_capture(Capture.FRAMES, WHOLE)
    native(PORT, bytes(10), frame, rig.now)
    assert what(rig.dataplane.take_captured()[0]) == [(Passed.FRAME_IN, frame)]
    assert mac(9) == frame[:6]

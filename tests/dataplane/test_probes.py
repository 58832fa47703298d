"""Probes of a path's MTU: sent whole, and their echoes told of."""

from __future__ import annotations

import pytest

from tests.dataplane.rig import US, Rig, packet, tunnel
from tests.dataplane.test_pump import connected
from wgvx.drops import Reason
from wgvx.vxlan.icmp import echo_request, protocol_of

REST = bytes(range(200)) * 7


def reply(family: int, rest: bytes, source: int = 2) -> bytes:
    request = echo_request(tunnel(source, family), tunnel(US, family), rest)
    # A reply's type is a request's with 8 less, or 1 more; its checksum follows.
    kind = 0 if family == 4 else 129
    check = int.from_bytes(request[2:4], "big") + ((request[0] - kind) << 8)
    check = (check & 0xFFFF) + (check >> 16)
    if check <= 0:
        check += 0xFFFF
    message = bytes((kind, 0)) + check.to_bytes(2, "big") + rest
    return packet(message, protocol_of(tunnel(US, family)), source=source, family=family)


@pytest.mark.parametrize("family", [4, 6])
def test_a_probe_is_sent_at_its_size(rig: Rig, family: int) -> None:
    queue = connected(rig)
    rest = REST[: 1296 - (28 if family == 4 else 48) + 4]
    request = echo_request(tunnel(US, family), tunnel(2, family), rest)
    probe = packet(request, protocol_of(tunnel(2, family)), source=US, destination=2, family=family)
    assert rig.dataplane.send_probe(2, probe, rig.now) is None
    (datagram,) = queue.datagrams_out
    assert len(datagram.data) == len(probe) + 32
    assert rig.peer.open(datagram, rig.now) == probe


def test_no_session_no_probe(rig: Rig) -> None:
    connected(rig)
    rig.dataplane.forget_keys(2)
    assert rig.dataplane.send_probe(2, packet(b""), rig.now) is Reason.NO_ENDPOINT


@pytest.mark.parametrize("family", [4, 6])
def test_the_echo_expected_is_told_of_once(rig: Rig, family: int) -> None:
    rig.dataplane.expect_echo(2, tunnel(2, family), REST)
    assert rig.receive(reply(family, REST)).echoes == [2]
    assert rig.receive(reply(family, REST)).echoes == []
    assert rig.drops()[Reason.NOT_VXLAN] == 1


def test_another_echo_is_not(rig: Rig) -> None:
    rig.dataplane.expect_echo(2, tunnel(2), REST)
    assert rig.receive(reply(4, REST[:-2])).echoes == []
    assert rig.receive(reply(4, b"\xff" + REST[1:])).echoes == []
    assert rig.drops()[Reason.NOT_VXLAN] == 2

"""Drops of handshake messages, which the handshake side counts through the data plane."""

from __future__ import annotations

import pytest

from tests.dataplane.conftest import DataPlaneClass
from tests.support.engines import Node, Wire, pair, peer_config
from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.wireguard.sessions import HandshakeMessage


@pytest.fixture
def two(dataplane_class: DataPlaneClass) -> tuple[Wire, Node, Node]:
    """The first may call the second, whose data plane is the one on the bench."""
    wire, first, _ = pair()
    return wire, first, wire.add(2, [peer_config(1)], dataplane=dataplane_class())


def initiation(wire: Wire, first: Node, second: Node) -> HandshakeMessage:
    """An initiation that is on its way to the second."""
    wire.loses = lambda _: True
    first.send(second)
    wire.loses = lambda _: False
    return HandshakeMessage(wire.sent[-1].data, first.endpoint)


def test_bad_mac2(two: tuple[Wire, Node, Node]) -> None:
    wire, first, second = two
    second.engine.device.handle(initiation(*two), wire.now, under_load=True)
    assert second.drops() == {Reason.BAD_MAC2: 1}
    reply = second.engine.dataplane.take().datagrams
    assert [d.data[0] for d in reply] == [3]
    assert reply[0].endpoint.remote() == first.endpoint.remote()


def test_handshake_rate_counts_what_the_queue_does_not_take(two: tuple[Wire, Node, Node]) -> None:
    wire, first, second = two
    message = initiation(*two)
    flood = [Datagram(message.data, first.endpoint)] * 4097
    second.engine.absorb(second.engine.dataplane.receive(flood, wire.now), wire.now)
    assert second.drops() == {Reason.HANDSHAKE_RATE: 1}


def test_handshake_replay(two: tuple[Wire, Node, Node]) -> None:
    _, first, second = two
    message = initiation(*two)
    second.hear(message.data, first.endpoint)
    assert second.drops() == {}
    assert second.hear(message.data, first.endpoint).datagrams == []
    assert second.drops() == {Reason.HANDSHAKE_REPLAY: 1}


def test_handshake_failed_for_a_stranger(two: tuple[Wire, Node, Node]) -> None:
    _, first, second = two
    message = initiation(*two)
    second.engine.remove_peer(first.public_key)
    assert second.hear(message.data, first.endpoint).datagrams == []
    assert second.drops() == {Reason.HANDSHAKE_FAILED: 1}

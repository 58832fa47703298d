"""Whatever arrives: nothing raises, one counter moves, and all else stays as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.engines import SECOND, Node, Wire, pair, peer_config, underlay_endpoint
from tests.wireguard.insides import current, dataplane, moved, snapshot
from tests.wireguard.speaker import flood
from wgvx.dataplane.interface import Datagram
from wgvx.drops import Reason
from wgvx.wireguard.cookie import mac1_key
from wgvx.wireguard.crypto import mac
from wgvx.wireguard.sessions import Endpoint

LENGTHS = {1: 148, 2: 92, 3: 64}
OUTER = {
    Reason.MALFORMED,
    Reason.BAD_MAC1,
    Reason.BAD_MAC2,
    Reason.HANDSHAKE_RATE,
    Reason.HANDSHAKE_REPLAY,
    Reason.HANDSHAKE_FAILED,
    Reason.UNKNOWN_INDEX,
    Reason.AUTH_FAILED,
    Reason.REPLAYED,
    Reason.KEY_EXPIRED,
}


class Scene(NamedTuple):
    """Two nodes in mid-conversation, one with a handshake in flight to a third that is mute."""

    wire: Wire
    nodes: tuple[Node, Node]
    captured: list[bytes]
    """Every datagram that was sent, at least one of each type."""
    indices: list[bytes]
    """Every live receiver index of the two, packed."""


def make_scene() -> Scene:
    wire = Wire()
    a = wire.add(1, [peer_config(2), peer_config(3)])
    b = wire.add(2, [peer_config(1)])
    a.knows(b)
    flood(b)
    a.send(b)
    wire.run(7 * SECOND)
    for turn in range(3):
        b.send(a, bytes([turn]))
        a.send(b, bytes([turn]))
    third = a.engine.peers[peer_config(3).public_key]
    a.engine.set_endpoint(third, underlay_endpoint(3), wire.now)
    a.engine.device.initiate(third.id, wire.now)
    wire.carry(a, a.engine.transmit(a.port, [], wire.now))
    captured = [s.data for s in wire.sent]
    assert {data[0] for data in captured} == {1, 2, 3, 4}
    indices = {data[4:8] for data in captured}
    live = [
        index.to_bytes(4, "little")
        for node in (a, b)
        for index in (*dataplane(node)._keypairs, *node.engine.device._initiated)
    ]
    assert len(live) == 3
    assert indices & set(live)
    return Scene(wire, (a, b), captured, live)


@pytest.fixture(scope="module", params=["calm", "under load"])
def scene(request: pytest.FixtureRequest) -> Scene:
    made = make_scene()
    if request.param == "under load":
        for node in made.nodes:
            flood(node)
    return made


endpoints = st.builds(
    Endpoint,
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)),
    st.integers(0, 65535),
)


class Attack(NamedTuple):
    """One bad datagram in the making: see :func:`forge`."""

    base: int
    """Which captured datagram it starts from."""
    flips: list[int]
    length: int | None
    kind: int | None
    live_index: int | None
    counter: int | None
    mac1: bool
    """Make mac1 right, as anyone can who knows the receiver's public key."""


attacks = st.builds(
    Attack,
    base=st.integers(0, 1000),
    flips=st.lists(st.integers(0, 2000), max_size=3),
    length=st.none() | st.integers(0, 200) | st.sampled_from([*LENGTHS.values(), 32, 33, 65507]),
    kind=st.none() | st.integers(1, 4),
    live_index=st.none() | st.integers(0, 10),
    counter=st.none() | st.integers(0, 20) | st.integers(0, 2**64 - 1),
    mac1=st.booleans(),
)


def forge(scene: Scene, attack: Attack, receiver: Node) -> bytes:
    """A captured datagram, bent: another type, index, counter or length, bits flipped."""
    message = bytearray(scene.captured[attack.base % len(scene.captured)])
    if attack.length is not None:
        filler = random.Random(attack.base).randbytes(max(0, attack.length - len(message)))
        message = message[: attack.length] + filler
    if attack.kind is not None:
        message[:1] = bytes([attack.kind])[: len(message)]
    if attack.live_index is not None and len(message) >= 12:
        place = 8 if message[0] == 2 else 4
        message[place : place + 4] = scene.indices[attack.live_index % len(scene.indices)]
    if attack.counter is not None and message[:1] == b"\4" and len(message) >= 32:
        message[8:16] = attack.counter.to_bytes(8, "little")
    for bit in attack.flips:
        if message:
            message[bit // 8 % len(message)] ^= 1 << bit % 8
    if attack.mac1 and len(message) in (148, 92):
        message[-32:-16] = mac(mac1_key(receiver.public_key), bytes(message[:-32]))
    return bytes(message)


def check_refused(node: Node, data: bytes, source: Endpoint) -> Reason:
    """Give it to the node; the reason it was refused for."""
    before, drops = snapshot(node), node.drops()
    burst = node.hear(data, source)
    changes = moved(drops, node.drops())
    assert list(changes.values()) == [1], changes
    [reason] = changes
    assert reason in OUTER
    assert snapshot(node) == before
    assert burst.frames == []
    assert burst.events == {}
    # Silence; under load a cookie reply, shorter than what it answers and to the same place.
    assert [d.endpoint for d in burst.datagrams] == [source] * (reason is Reason.BAD_MAC2)
    assert all(d.data[0] == 3 and 64 == len(d.data) < len(data) for d in burst.datagrams)
    return reason


@settings(max_examples=600)
@given(attack=attacks, source=endpoints, side=st.integers(0, 1))
@example(Attack(0, [], 0, None, None, None, False), Endpoint(bytes(4), 0), 0)
@example(Attack(0, [], 3, None, None, None, False), Endpoint(bytes(4), 0), 0)
def test_a_bent_datagram_is_refused(
    scene: Scene, attack: Attack, source: Endpoint, side: int
) -> None:
    node = scene.nodes[side]
    check_refused(node, forge(scene, attack, node), source)


@settings(max_examples=300)
@given(data=st.binary(max_size=300), source=endpoints, side=st.integers(0, 1))
def test_random_bytes_are_refused(scene: Scene, data: bytes, source: Endpoint, side: int) -> None:
    check_refused(scene.nodes[side], data, source)


@settings(max_examples=300)
@given(
    kind=st.sampled_from([1, 2, 3, 4]),
    body=st.binary(min_size=200, max_size=200),
    index=st.none() | st.integers(0, 10),
    source=endpoints,
    side=st.integers(0, 1),
)
def test_random_bytes_of_valid_form_are_refused(
    scene: Scene, kind: int, body: bytes, index: int | None, source: Endpoint, side: int
) -> None:
    node = scene.nodes[side]
    message = bytes([kind, 0, 0, 0]) + body
    if index is not None:
        place = 8 if kind == 2 else 4
        live = scene.indices[index % len(scene.indices)]
        message = message[:place] + live + message[place + 4 :]
    message = message[: LENGTHS.get(kind, 160)]
    if kind < 3:
        mac1 = mac(mac1_key(node.public_key), message[:-32])
        message = message[:-32] + mac1 + message[-16:]
    assert check_refused(node, message, source) is not Reason.MALFORMED


def test_every_single_bit_flipped_in_every_captured_datagram(scene: Scene) -> None:
    seen = set()
    for data in {bytes([d[0]]): d for d in scene.captured}.values():
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            for node in scene.nodes:
                seen.add(check_refused(node, bytes(flipped), underlay_endpoint(66)))
    assert seen >= {Reason.MALFORMED, Reason.BAD_MAC1, Reason.UNKNOWN_INDEX, Reason.AUTH_FAILED}


def test_every_length_of_every_captured_datagram(scene: Scene) -> None:
    for data in {bytes([d[0]]): d for d in scene.captured}.values():
        for length in {*range(len(data)), len(data) + 1, len(data) + 16, 1500, 9000, 65507}:
            bent = data[:length].ljust(length, b"\xaa")
            for node in scene.nodes:
                check_refused(node, bent, underlay_endpoint(66))


def test_a_burst_of_bad_datagrams_counts_each_and_the_good_one_among_them_arrives() -> None:
    scene = make_scene()
    a, b = scene.nodes
    good = Datagram(current(a, b).seal(b""), a.endpoint)
    rng = random.Random(5)
    bad = [Datagram(rng.randbytes(rng.choice([0, 1, 31, 32, 92, 148, 9000])), a.endpoint)] * 100
    before, heard = b.drops(), b.engine.dataplane.peer_counters(1).rx_bytes
    b.engine.receive([*bad, good, *bad], scene.wire.now)
    assert sum(moved(before, b.drops()).values()) == 200
    assert b.engine.dataplane.peer_counters(1).rx_bytes == heard + 32


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x45", b"\x45\0\0\x14", b"\x60"]))
def test_random_bytes_inside_a_session_end_under_one_reason(tail: bytes, head: bytes) -> None:
    _, a, b = SESSION
    drops = b.drops()
    burst = b.hear(current(a, b).seal(head + tail), a.endpoint)
    assert burst.frames == []
    assert burst.datagrams == []
    assert sum(moved(drops, b.drops()).values()) == (1 if head + tail else 0)


def _session() -> tuple[Wire, Node, Node]:
    wire, a, b = pair()
    a.send(b)
    return wire, a, b


SESSION = _session()


# --- an attacker on the wire --------------------------------------------------------------------

step = st.one_of(
    st.tuples(st.just("a sends"), st.just(0)),
    st.tuples(st.just("b sends"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1, 3, 6, 16, 61, 121, 181, 600])),
    st.tuples(st.just("lose"), st.integers(0, 5)),
    st.tuples(st.just("replay"), st.integers(0, 1000)),
    st.tuples(st.just("replay to b from elsewhere"), st.integers(0, 1000)),
    st.tuples(st.just("bend"), st.integers(0, 10**6)),
    st.tuples(st.just("clock"), st.sampled_from([-3600, -1, 1, 3600])),
)


@settings(max_examples=60)
@given(steps=st.lists(step, max_size=40), seed=st.integers(0, 9))
def test_an_attacker_who_loses_replays_and_bends_can_only_delay(
    steps: list[tuple[str, int]], seed: int
) -> None:
    wire, a, b = pair(seed=seed)
    b.knows(a)
    numbers: Iterator[int] = iter(range(10**6))
    sent: dict[Node, list[bytes]] = {a: [], b: []}
    to_lose = 0

    def loses(_: object) -> bool:
        nonlocal to_lose
        to_lose -= 1
        return to_lose >= 0

    wire.loses = loses

    def send(node: Node, other: Node) -> None:
        sent[node].append(node.send(other, next(numbers).to_bytes(4, "big")))

    def deliver(data: bytes, node: Node, source: Endpoint) -> None:
        wire.carry(node, node.hear(data, source))

    for what, argument in steps:
        if what == "a sends":
            send(a, b)
        elif what == "b sends":
            send(b, a)
        elif what == "wait":
            wire.run(argument * SECOND)
        elif what == "lose":
            to_lose = argument
        elif what == "clock":
            wire.unix_offset += argument * SECOND
        elif wire.sent:
            item = wire.sent[argument % len(wire.sent)]
            receiver, source = (b, a.endpoint) if item.sender is a else (a, b.endpoint)
            data = item.data
            if what == "bend":
                bent = bytearray(data)
                bent[argument // 8 % len(data)] ^= 1 << argument % 8
                data = bytes(bent)
            elif what == "replay to b from elsewhere" and receiver is b:
                source = underlay_endpoint(66)
            deliver(data, receiver, source)

    for node, other in ((a, b), (b, a)):
        assert len(set(node.frames)) == len(node.frames), "nothing arrives twice"
        assert set(node.frames) <= set(sent[other]), "nothing arrives that was not sent"

    wire.mend()
    for _ in range(30):
        wire.run(SECOND)
        send(a, b)
        send(b, a)
    for node, other in ((a, b), (b, a)):
        assert node.frames[-5:] == sent[other][-5:], "half a minute later all is well"
        assert len(set(node.frames)) == len(node.frames)

"""The queue of handshake messages against a list, and when it makes a node be under load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wgvx.wireguard.handshake_queue import HandshakeQueue
from wgvx.wireguard.sessions import Endpoint, HandshakeMessage

SECOND = 10**9
START = 9 * SECOND
CAPACITY, LOADED = 4096, 512
SOMEBODY = Endpoint(bytes(4), 1)


def message(number: int) -> HandshakeMessage:
    return HandshakeMessage(number.to_bytes(4, "big"), SOMEBODY)


operation = st.one_of(
    st.tuples(st.just("offer"), st.sampled_from([1, 1, 100, 511, 512, 3000])),
    st.tuples(st.just("take"), st.sampled_from([1, 1, 100, 511, 512, 5000])),
    st.tuples(st.just("wait"), st.sampled_from([1, SECOND // 2, SECOND - 1, SECOND, 3 * SECOND])),
)


@given(st.lists(operation, max_size=15))
def test_agrees_with_a_list(operations: list[tuple[str, int]]) -> None:
    queue = HandshakeQueue()
    model: list[HandshakeMessage] = []
    last_long: int | None = None
    now, number = START, 0
    for kind, count in operations:
        if kind == "wait":
            now += count
        for _ in range(count if kind == "offer" else 0):
            number += 1
            fits = len(model) < CAPACITY
            assert queue.offer(message(number), now) == fits
            if fits:
                model.append(message(number))
        # "Long" is looked at when a message comes and when the question is asked.
        if len(model) >= LOADED:
            last_long = now
        under_load = last_long is not None and now < last_long + SECOND
        assert queue.under_load(now) == under_load
        for _ in range(count if kind == "take" else 0):
            assert queue.take() == (model.pop(0) if model else None)
        assert len(queue) == len(model)


def test_under_load_begins_at_512_waiting_and_lasts_a_second_more() -> None:
    queue = HandshakeQueue()
    for number in range(LOADED - 1):
        queue.offer(message(number), START)
    assert not queue.under_load(START)
    queue.offer(message(LOADED), START)
    assert queue.under_load(START)
    while queue.take():
        pass
    assert queue.under_load(START + SECOND - 1)
    assert not queue.under_load(START + SECOND)


def test_a_queue_that_stays_long_keeps_a_node_under_load() -> None:
    queue = HandshakeQueue()
    for number in range(LOADED):
        queue.offer(message(number), START)
    assert queue.under_load(START + 5 * SECOND)
    queue.take()
    assert queue.under_load(START + 6 * SECOND - 1)
    assert not queue.under_load(START + 6 * SECOND)

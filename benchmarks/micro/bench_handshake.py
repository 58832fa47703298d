"""Handshakes. OPS, in the table, is how many a second one core does of that part alone."""

from __future__ import annotations

import random

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.rounds import with_new
from wgvx.wireguard import cookie, noise
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.messages import Initiation, Response


class Ends:
    """An initiator and a responder who know each other, and the steps between them."""

    def __init__(self) -> None:
        self._draw = random.Random(1)
        self._initiator, self._responder = self._draw.randbytes(32), self._draw.randbytes(32)
        self._initiator_public = dh_public(self._initiator)
        self._responder_public = dh_public(self._responder)

    def initiate(self) -> tuple[noise.Handshake, Initiation]:
        return noise.create_initiation(
            static_private=self._initiator,
            static_public=self._initiator_public,
            remote_static=self._responder_public,
            ephemeral_private=self._draw.randbytes(32),
            sender_index=1,
            timestamp=bytes(12),
        )

    def respond(self, initiation: Initiation) -> Response:
        received = noise.consume_initiation(
            initiation, static_private=self._responder, static_public=self._responder_public
        )
        received.open_timestamp(self._responder)
        response, _ = noise.create_response(
            received.handshake,
            remote_static=received.remote_static,
            preshared_key=noise.NO_PRESHARED_KEY,
            ephemeral_private=self._draw.randbytes(32),
            sender_index=2,
        )
        return response

    def finish(self, handshake: noise.Handshake, response: Response) -> None:
        noise.consume_response(
            handshake,
            response,
            static_private=self._initiator,
            preshared_key=noise.NO_PRESHARED_KEY,
        )


def test_initiate(benchmark: BenchmarkFixture) -> None:
    benchmark(Ends().initiate)


def test_respond(benchmark: BenchmarkFixture) -> None:
    """All that a responder does: what a hub does for each of its peers every two minutes."""
    ends = Ends()
    _, initiation = ends.initiate()
    benchmark(ends.respond, initiation)


def test_finish(benchmark: BenchmarkFixture) -> None:
    """The initiator's second half."""
    ends = Ends()

    def answered() -> tuple[noise.Handshake, Response]:
        handshake, initiation = ends.initiate()
        return handshake, ends.respond(initiation)

    with_new(benchmark, ends.finish, answered, rounds=500)


def test_handshake(benchmark: BenchmarkFixture) -> None:
    """All of it, as both ends together do it."""
    ends = Ends()

    def handshake() -> None:
        ours, initiation = ends.initiate()
        ends.finish(ours, ends.respond(initiation))

    benchmark(handshake)


def test_mac1(benchmark: BenchmarkFixture) -> None:
    """What a forged initiation costs where Python looks at it."""
    key = cookie.mac1_key(bytes(32))
    benchmark(cookie.mac1_valid, key, bytes(148))

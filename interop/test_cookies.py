"""Under load: who is called demands a cookie (mac2), and who calls obtains it and comes through.

A third host floods the called end with initiations that have the right mac1, which takes no more
than its public key. The proof that it is under load is that the third host is sent cookies itself.
"""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmarks.compare.traffic import forged
from interop.capture import COOKIE_REPLY, INITIATION, RESPONSE, Capture
from interop.changing import acquaint, forget
from interop.matches import BORINGTUN, CALLERS, Match
from interop.pair import MakeFar, make_pair
from tests.netns.lab import Lab, Namespace, eventually
from tests.netns.nodes import Identity
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

BURST = 1000
"""Initiations at once: the kernel and wgvx are under load from 512 waiting, wireguard-go from 128;
boringtun from the hundredth within a second, for the rest of that second."""
PAUSE, SHORT_PAUSE = 0.3, 0.03
"""Seconds between bursts; short for boringtun, lest it be a new second without load. With the
others load lasts a second beyond the long queue, and meanwhile there is time for others than the
flood."""
NO_MAC2 = "00" * 16


class Flood:
    """Bursts of forged initiations; the replies to them are looked at."""

    def __init__(self, source: Namespace, target: Identity, pause: float) -> None:
        key = base64.b64decode(target.public)
        self._messages = [forged.initiation(key, right=True) for _ in range(BURST)]
        self._to = target.address[4], target.port
        self._socket = source.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.cookies = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            for message in self._messages:
                with suppress(BlockingIOError):
                    self._socket.sendto(message, self._to)
            with suppress(BlockingIOError):
                while reply := self._socket.recv(2048):
                    self.cookies += reply[0] == COOKIE_REPLY


@contextmanager
def under_load(source: Namespace, target: Identity, pause: float) -> Iterator[None]:
    """Flood ``target``, from when it is under load."""
    flood = Flood(source, target, pause)
    flood.start()
    try:
        eventually(lambda: flood.cookies, "it is under load")
        yield
    finally:
        flood.stop()


@pytest.mark.parametrize("match", CALLERS, ids=str)
def test_a_cookie_under_load(lab: Lab, match: Match, make_far: MakeFar) -> None:
    """The first initiation is answered by a cookie reply, the next one, with mac2, by a response.

    Where wgvx calls the far end demands the cookie, and wgvx where the far end calls.
    """
    crowd = lab.host("x")
    pair = make_pair(lab, match, make_far, join=lambda lab, w, f: lab.lan(w, f, crowd))
    first, second = pair.first, pair.second
    assert_ping(first.place, second.address[4])
    capture = Capture(pair.ours.host)
    pause = SHORT_PAUSE if match.far == BORINGTUN and second is pair.theirs else PAUSE
    with under_load(crowd, second.id, pause):
        capture.start()
        # Both forget: boringtun hears who has called it before by a socket that no flood comes to.
        for node, other in ((second, first), (first, second)):
            forget(node, other.id.public)
            acquaint(node, other.id, underlay=4 if node is first else None)
        assert_ping(first.place, second.address[4], timeout=20)
        capture.stop()
    if second is pair.ours:
        assert pair.ours.drops("bad_mac2") > 0

    fields = ["frame.time_epoch", "wg.type", "wg.sender", "wg.receiver", "wg.mac2"]
    a, b = first.id.address[4], second.id.address[4]
    calls = capture.fields(f"wg.type == {INITIATION} && ip.src == {a}", fields)
    replies = f"(wg.type == {RESPONSE} || wg.type == {COOKIE_REPLY})"
    answers = capture.fields(f"{replies} && ip.src == {b} && ip.dst == {a}", fields)
    assert [int(kind) for _, kind, *_ in answers] == [COOKIE_REPLY, RESPONSE]
    assert [mac2.replace(":", "") == NO_MAC2 for *_, mac2 in calls] == [True, False]
    for (_, _, sender, _, _), (_, _, _, receiver, _) in zip(calls, answers, strict=True):
        assert sender == receiver
    # "A received cookie triggers no instant retry".
    assert 4.9 < float(calls[1][0]) - float(calls[0][0]) < 6.5

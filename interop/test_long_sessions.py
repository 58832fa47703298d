"""Sessions for as long as they live: rekeys, expiry, and how long one goes on calling.

All matches at the same time, since each of these takes minutes.

Some handshakes come 15 s after traffic that was answered. Boringtun does not say the keepalive
that it owes where the last data came in the same 250 ms as it last sent some, so whoever waits for
it calls. wireguard-go arms that timer after it has sent, when the answer may already be there.
"""

from __future__ import annotations

import itertools
import time

import pytest

from interop.capture import INITIATION, RESPONSE, Capture, of_kind, sent_by
from interop.changing import acquaint, forget, silence_both
from interop.matches import Match
from interop.pair import Pair
from interop.peers import Far
from interop.together import Together
from tests.netns.traffic import assert_ping

pytestmark = [pytest.mark.netns, pytest.mark.nightly, pytest.mark.timeout(600)]

REKEY_TIMEOUT, JITTER = 5, 1 / 3
REKEY_AFTER_TIME, REJECT_AFTER_TIME = 120, 180
LATE = 1.0
"""Seconds that a timer may be late."""
OWED = 15 + JITTER + 2 * LATE
"""Seconds after which nothing is owed for traffic: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, and what
comes on top."""
FEWEST_CALLS, MOST_CALLS = 18, 20
"""Boringtun gives up when 90 s are over, the others after as many retries as the kernel."""


def call_anew(pair: Pair, capture: Capture) -> None:
    """A new session on a silent wire, which the first end has called for."""
    first, second = pair.first, pair.second
    silence_both(first, second)
    forget(first, second.id.public)
    acquaint(first, second.id)
    capture.start()


def traffic_throughout(pair: Pair) -> None:
    first, second = pair.first, pair.second
    capture = Capture(pair.ours.host)
    call_anew(pair, capture)
    count = 10 * (REJECT_AFTER_TIME + 25)
    command = ("ping", "-n", "-q", "-i", "0.1", "-c", str(count), second.address[4])
    told = first.place.run(*command, check=False, timeout=500).stdout
    capture.stop()
    assert f"{count} received, 0% packet loss" in told, told
    packets = capture.packets()
    begun, again = of_kind(INITIATION, sent_by(first, packets))
    assert REKEY_AFTER_TIME <= again.time - begun.time < REKEY_AFTER_TIME + LATE
    assert of_kind(INITIATION, sent_by(second, packets)) == []
    # Nothing travels under the first keys once the second ones are there.
    assert len(of_kind(RESPONSE, sent_by(second, packets))) == 2
    indices = [packet.receiver_index for packet in sent_by(first, packets[-100:])]
    (answer,) = of_kind(RESPONSE, sent_by(second, packets))[1:]
    assert set(indices) == {answer.sender_index}


def test_traffic_beyond_the_life_of_a_key(match: Match, together: Together) -> None:
    """Who called rekeys at 120 s; at ten packets a second each way not one is lost."""
    together.play(match, traffic_throughout)


def silent_for_too_long(pair: Pair, caller: Far, called: Far) -> None:
    capture = Capture(pair.ours.host)
    call_anew(pair, capture)
    assert_ping(pair.first.place, pair.second.address[4])
    # Until all have said what they owe. That may be a handshake, too: see the module's docstring.
    time.sleep(OWED)
    expires = pair.ours.latest_handshake(pair.theirs.id) + 1 + REJECT_AFTER_TIME
    time.sleep(expires + 3 - time.time())
    ping = ("ping", "-n", "-c", "1", "-W", "4", called.address[4])
    told = caller.place.run(*ping, check=False).stdout
    capture.stop()
    assert "1 received" in told, told
    late = [packet for packet in capture.packets() if packet.time > expires]
    assert [packet.kind for packet in late[:2]] == [INITIATION, RESPONSE]
    assert sent_by(caller, late[:2]) == late[:1]
    assert sent_by(called, late[:2]) == late[1:2]
    assert len(of_kind(INITIATION, late)) == 1


def expiry_first(pair: Pair) -> None:
    silent_for_too_long(pair, pair.first, pair.second)


def expiry_second(pair: Pair) -> None:
    silent_for_too_long(pair, pair.second, pair.first)


def test_the_caller_speaks_after_180_seconds(match: Match, together: Together) -> None:
    """Of silence: one handshake, and the very first packet arrives."""
    together.play(match, expiry_first)


def test_the_called_end_speaks_after_180_seconds(match: Match, together: Together) -> None:
    """Then it is the one to call."""
    together.play(match, expiry_second)


def unanswered(pair: Pair) -> None:
    first, second = pair.first, pair.second
    assert_ping(first.place, second.address[4])
    capture = Capture(pair.ours.host)
    forget(second, first.id.public)
    call_anew(pair, capture)
    dropped = pair.ours.drops("handshake_timeout")
    first.place.run("ping", "-n", "-c", "1", "-W", "1", second.address[4], check=False)
    time.sleep((MOST_CALLS + 1) * (REKEY_TIMEOUT + JITTER) + LATE)
    capture.stop()
    packets = capture.packets()
    calls = of_kind(INITIATION, sent_by(first, packets))
    assert packets == calls
    gaps = [b.time - a.time for a, b in itertools.pairwise(calls)]
    assert all(REKEY_TIMEOUT <= gap < REKEY_TIMEOUT + JITTER + LATE for gap in gaps), gaps
    assert max(gaps) - min(gaps) > 0.05, gaps
    assert FEWEST_CALLS <= len(calls) <= MOST_CALLS
    if first is pair.ours:
        assert pair.ours.drops("handshake_timeout") == dropped + 1
    acquaint(second, first.id, underlay=None)
    assert_ping(first.place, second.address[4], timeout=REKEY_TIMEOUT - 0.5)


def test_calls_that_nobody_answers(match: Match, together: Together) -> None:
    """Every 5 s and up to 1/3 s of jitter, for 90 s; what waited is dropped then. New data calls
    again."""
    together.play(match, unanswered)

"""What keeps a session alive and brings it back: keepalives, restarts, clocks."""

from __future__ import annotations

import functools
import itertools
import signal
import time
from pathlib import Path

import pytest

from interop.capture import Capture, keepalives, sent_by
from interop.changing import acquaint, forget, set_peer, silence_both
from interop.frames import send_frames
from interop.kernel.guest import GuestPlace
from interop.kernel.host import has_wireguard
from interop.matches import BORINGTUN, KERNEL, MATCHES, Match
from interop.pair import Pair
from interop.peers import Far
from interop.together import Together
from tests.netns.lab import eventually
from tests.netns.nodes import WgvxNode
from tests.netns.traffic import BROADCAST, assert_ping, frame, mac_of, ping

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

ONE_HANDSHAKE = 4.5
"""Seconds: less than REKEY_TIMEOUT, so that an initiation which came to nothing is noticed."""
KEEPALIVE_TIMEOUT, NEW_HANDSHAKE = 10, 15
LATE = 1.0
"""Seconds that a timer may be late: the kernel's wheel turns in steps of up to 0.26 s at these
distances, and a busy machine adds its own."""
DAY = 86400
GUEST_ANSWERS = 10

OWN_CLOCK = """
import pathlib, time
clock, unchanged = pathlib.Path('{}'), time.time_ns
time.time_ns = lambda: unchanged() + int(clock.read_text()) * 10**9
"""

WE_CALL = [match for match in MATCHES if match.caller == "wgvx"]
KERNEL_CALLS = [match for match in MATCHES if match.far == KERNEL and match.caller == "far"]


# --- keepalives ---------------------------------------------------------------------------------


def passive_keepalive(pair: Pair) -> None:
    first, second = pair.first, pair.second
    silence_both(first, second)
    capture = Capture(pair.ours.host)
    capture.start()
    assert_ping(first.place, second.address[4], count=1)
    unanswered = frame(BROADCAST, mac_of(first.place, first.tap), b"to nobody")
    send_frames(first.place, first.tap, [unanswered])
    time.sleep(4)
    send_frames(first.place, first.tap, [unanswered])
    time.sleep(KEEPALIVE_TIMEOUT - 4 + LATE)
    capture.stop()
    packets = capture.packets()
    *_, answer, keepalive = sent_by(second, packets)
    *_, data, more = sent_by(first, packets)
    assert keepalives([answer, data, more, keepalive]) == [keepalive]
    assert answer.time < data.time < more.time < keepalive.time
    since, early = data.time, 0.1
    if second is pair.theirs and pair.match.far == BORINGTUN:
        # It counts from when it last said something, and in steps of 250 ms.
        since, early = answer.time, 0.3
    assert KEEPALIVE_TIMEOUT - early < keepalive.time - since < KEEPALIVE_TIMEOUT + LATE


@pytest.mark.nightly
def test_passive_keepalive(match: Match, together: Together) -> None:
    """Who has heard data and said nothing for 10 s sends one; the first data counts, not the last.

    The called end hears, so each implementation does in one match and wgvx in another. What CI has
    of it is in test_behaviour, beside the kernel.
    """
    together.play(match, passive_keepalive)


def persistent_keepalive(pair: Pair) -> None:
    silence_both(pair.ours, pair.theirs)
    assert_ping(pair.first.place, pair.second.address[4])
    for a, b in pair.ways:
        set_peer(a, b.id, "persistent-keepalive", "1")
        assert_ping(a.place, b.address[4])
        capture = Capture(pair.ours.host)
        capture.start()
        time.sleep(2.5)
        capture.stop()
        set_peer(a, b.id, "persistent-keepalive", "off")
        packets = capture.packets()
        times = [packet.time for packet in keepalives(sent_by(a, packets))]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(times) >= 2
        assert all(0.9 < gap < 1 + LATE for gap in gaps), gaps
        assert sent_by(b, packets) == []
    assert_ping(pair.theirs.place, pair.ours.address[4])  # For boringtun is new, see set_peer.


def test_persistent_keepalive(match: Match, together: Together) -> None:
    """Every interval of silence, from either end; the other one owes nothing for it."""
    together.play(match, persistent_keepalive)


# --- restarts -----------------------------------------------------------------------------------


def start_ours(pair: Pair, *options: str) -> None:
    pair.ours.start("--dataplane", pair.match.dataplane, *options)


def kill_ours(pair: Pair, number: signal.Signals) -> None:
    """End our node, by SIGKILL also without its doing."""
    if number != signal.SIGKILL:
        pair.ours.stop(number)
        return
    process = pair.ours.process
    assert process is not None
    process.send_signal(number)
    assert process.wait() == -number


def restart(pair: Pair, node: Far, number: signal.Signals) -> None:
    """``node`` goes away without a word and comes back with its key and its configuration."""
    if node is pair.ours:
        kill_ours(pair, number)
        start_ours(pair)
    elif isinstance(node, WgvxNode):
        node.stop()
        node.start("--dataplane", pair.match.dataplane)
    else:
        node.restart()


def established(pair: Pair) -> None:
    assert_ping(pair.first.place, pair.second.address[4])


def the_caller_calls(pair: Pair) -> None:
    assert_ping(pair.first.place, pair.second.address[4], timeout=ONE_HANDSHAKE)


SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)


@SIGNALS
def test_the_caller_is_restarted(match: Match, together: Together, number: signal.Signals) -> None:
    """It has a session with the first handshake that it tries, as its stamps have not gone back."""
    together.play(match, established, title=("caller", number))
    together.play(
        match,
        the_caller_calls,
        before=lambda pair: restart(pair, pair.first, number),
        title=number,
    )


def the_caller_notices(pair: Pair) -> None:
    timeout = NEW_HANDSHAKE + LATE
    assert_ping(pair.first.place, pair.second.address[4], timeout=timeout + ONE_HANDSHAKE)


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)],
    ids=lambda n: n.name,
)
def test_the_called_end_is_restarted(
    match: Match, together: Together, number: signal.Signals
) -> None:
    """It knows nobody's endpoint; the caller calls when its data is unanswered for 15 s."""
    together.play(match, established, title=("called", number))
    together.play(
        match,
        the_caller_notices,
        before=lambda pair: restart(pair, pair.second, number),
        title=number,
    )


# --- clocks -------------------------------------------------------------------------------------


def set_our_clock(pair: Pair, ahead: int) -> None:
    """Seconds; also while the node runs, if it was started by the next one."""
    pair.ours.place.write("clock", str(ahead))


def start_with_our_own_clock(pair: Pair) -> None:
    """Python imports sitecustomize by itself. faketime would do, if time.sleep() worked in it."""
    place = pair.ours.place
    place.write("sitecustomize.py", OWN_CLOCK.format(place.folder / "clock"))
    before = dict(place.env)
    place.env["PYTHONPATH"] = str(place.folder)
    try:
        # This clock is in a file, and a confined node opens none.
        start_ours(pair, "--confine", "none")
    finally:
        place.env = before


def begin_with_the_right_time(pair: Pair) -> None:
    pair.ours.stop()
    set_our_clock(pair, 0)
    start_with_our_own_clock(pair)


def set_back_while_it_runs(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    assert_ping(ours.place, theirs.address[4])
    set_our_clock(pair, -DAY)
    forget(ours, theirs.id.public)
    acquaint(ours, theirs.id)
    the_caller_calls(pair)
    assert abs(ours.latest_handshake(theirs.id) - (time.time() - DAY)) < 60


def kill_and_start(pair: Pair) -> None:
    kill_ours(pair, signal.SIGKILL)
    start_with_our_own_clock(pair)


def start_without_state(pair: Pair) -> None:
    state = Path(pair.ours.node["state_dir"])
    pair.ours.stop()
    state.rename(state.with_name("kept"))
    start_with_our_own_clock(pair)


def refused(pair: Pair) -> None:
    assert not ping(pair.ours.place, pair.theirs.address[4], count=2)
    assert pair.ours.latest_handshake(pair.theirs.id) == 0


def start_with_state_and_the_right_time(pair: Pair) -> None:
    state = Path(pair.ours.node["state_dir"])
    pair.ours.stop()
    for file in state.iterdir():
        file.unlink()
    state.rmdir()
    state.with_name("kept").rename(state)
    start_ours(pair)


@pytest.mark.parametrize("match", WE_CALL, ids=str)
def test_our_clock_is_set_back(match: Match, together: Together) -> None:
    """By a day: our stamps still rise, from one run to the next even if killed.

    Without the state file they do not, and the far end does as it must: it takes us for a replay.
    """
    for before, scenario in (
        (begin_with_the_right_time, set_back_while_it_runs),
        (kill_and_start, the_caller_calls),
        (start_without_state, refused),
        (start_with_state_and_the_right_time, the_caller_calls),
    ):
        together.play(match, scenario, among=WE_CALL, before=before, title=before)


def set_the_guest_back(pair: Pair) -> None:
    assert isinstance(pair.theirs.place, GuestPlace)
    pair.theirs.place.channel.set_clock(time.time() - DAY, GUEST_ANSWERS)
    restart(pair, pair.theirs, signal.SIGTERM)


def set_the_guest_right(pair: Pair) -> None:
    assert isinstance(pair.theirs.place, GuestPlace)
    pair.theirs.place.channel.set_clock(time.time(), GUEST_ANSWERS)


def refuse_and_call(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    refused = ours.drops("handshake_replay")
    assert not ping(theirs.place, ours.address[4], count=2)
    eventually(lambda: ours.drops("handshake_replay") > refused, "its calls are refused")
    timeout = NEW_HANDSHAKE + LATE + ONE_HANDSHAKE
    assert_ping(ours.place, theirs.address[4], timeout=timeout)
    assert_ping(theirs.place, ours.address[4], timeout=1)


@pytest.mark.nightly
@pytest.mark.parametrize("match", KERNEL_CALLS, ids=str)
def test_the_far_clock_is_set_back(match: Match, together: Together) -> None:
    """The kernel keeps no stamp: after a restart with the clock set back nobody who knows it takes
    its calls, until its clock has caught up. But wgvx calls it, and that heals it."""
    if has_wireguard():
        pytest.skip("the far end's clock is this host's own")
    play = functools.partial(together.play, match, among=KERNEL_CALLS)
    play(established, title="clock")
    try:
        play(refuse_and_call, before=set_the_guest_back)
    finally:
        play(established, before=set_the_guest_right, title="clock set right")

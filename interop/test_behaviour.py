"""Nobody can tell: what wgvx sends is held against what the kernel sends in its place.

Two runs of one script, the roles changed: once wgvx calls kernel WireGuard, once it is called. Who
was first in one run is compared with who was first in the other, message by message, as a passer-by
and, with our key log, as the peer sees them.

What differs, and why:

- VXLAN's source ports are from 49152 to 65535, as RFC 7348 recommends; Linux takes its range for
  local ports, 32768 to 60999.
- IPv4's identification inside the tunnel counts up from 1; Linux begins anywhere. Outside the
  tunnel it is the kernel's own in both cases.
- wgvx announces its overlay addresses when it starts (gratuitous ARP, unsolicited advertisement).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import signal
import time
from dataclasses import dataclass

import pytest

from interop.capture import (
    DATA,
    GOOD,
    INITIATION,
    Capture,
    Packet,
    keepalives,
    of_kind,
    sent_by,
)
from interop.changing import silence, silence_both
from interop.frames import send_frames
from interop.matches import FAMILIES, KERNEL, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import Far
from interop.together import at_once
from tests.netns.lab import Lab
from tests.netns.nodes import WgvxNode
from tests.netns.traffic import frame, mac_of

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

FAR = KERNEL
"""For the report: whom the tests here are played with."""
KEYS = "keys"
TUNNEL_MTU = 1420
OVERLAY_MTU = {4: 1370, 6: 1350}
"""By the family of the tunnel: its packets may be full, where padding to 16 bytes must stop."""


@dataclass(frozen=True)
class Run:
    """A pair whose cable was watched."""

    pair: Pair
    capture: Capture

    @functools.cached_property
    def packets(self) -> list[Packet]:
        """All that passed, once the capture is over."""
        return self.capture.packets(self.pair.ours.host.folder / KEYS)


def watched(
    lab: Lab, make_far: MakeFar, match: Match, *, underlay: int = 4, overlay: int = 4
) -> Run:
    """A pair with IPv4 alone on the overlay, so that nobody says anything unasked."""
    captures: list[Capture] = []

    def prepare(ours: WgvxNode) -> None:
        captures.append(Capture(*lab.hosts))
        captures[0].start()
        ours.networks[0]["address"] = ours.networks[0]["address"][:1]

    pair = make_pair(
        lab,
        match,
        make_far,
        underlay=underlay,
        overlay=overlay,
        mtus=(TUNNEL_MTU, OVERLAY_MTU[overlay]),
        options=("--key-log", KEYS),
        prepare=prepare,
    )
    for node in (pair.ours, pair.theirs):
        silence(node)
    return Run(pair, captures[0])


# --- what is sent -------------------------------------------------------------------------------


def shape(packet: Packet) -> dict[str, object]:
    """All that must be alike. Free are keys, indices, and what docs list above."""
    outer, tunnel = packet.outer, packet.tunnel
    told: dict[str, object] = {
        "kind": packet.kind,
        "length": outer.length,
        "tos": outer.tos,
        "df": outer.df,
        "ttl": outer.ttl,
        "flow label": outer.flow_label,
        "ports": (outer.source_port, outer.destination_port),
        "checksum": outer.checksum_status,
        "counter": packet.counter,
    }
    if tunnel is not None:
        told |= {
            "padding": packet.padding,
            "tunnel tos": tunnel.tos,
            "tunnel df": tunnel.df,
            "tunnel ttl": tunnel.ttl,
            "tunnel flow label": tunnel.flow_label,
            "tunnel checksum": tunnel.checksum_status,
            "tunnel port": tunnel.destination_port,
            "vxlan": (packet.vxlan_flags, packet.vxlan_reserved, packet.vni),
            "what": packet.info.partition(" id=")[0].partition(" ")[2],
        }
    return told


def script(pair: Pair, most: int) -> None:
    """The first end calls and talks, the second one answers. ``most`` fits into a ping."""
    first, second = pair.first, pair.second
    ping = ("ping", "-n", "-c", "1", "-W", "5")
    first.place.run(*ping, second.address[4])
    for size in (0, 1, 18, 56, 57, 1000, most - 9, most - 1, most):
        first.place.run(*ping, "-s", str(size), second.address[4])
    for tos in (0x01, 0x02, 0x03, 0xB8, 0xBA):  # ECN alone, DSCP alone, both
        first.place.run(*ping, "-Q", str(tos), second.address[4])
    for df in ("do", "want", "dont"):
        first.place.run(*ping, "-M", df, second.address[4])


def told(run: Run, node: Far) -> list[dict[str, object]]:
    """What a node sent, without what it may say unasked: address resolution after some seconds, and
    our announcement, which comes first and shifts the counters.
    """
    packets = sent_by(node, run.packets)
    shapes = [shape(packet) for packet in packets if packet.protocol not in ("ARP", "ICMPv6")]
    counters = [packet.counter for packet in of_kind(DATA, packets)]
    assert counters == list(range(len(counters)))
    for one in shapes:
        one.pop("counter")
    return shapes


@pytest.mark.parametrize(("underlay", "overlay"), FAMILIES)
def test_each_message_is_as_the_kernels(
    tmp_path_factory: pytest.TempPathFactory,
    make_far: MakeFar,
    dataplane: str,
    underlay: int,
    overlay: int,
) -> None:
    runs: list[tuple[list[dict[str, object]], list[dict[str, object]]]] = []
    for caller in ("wgvx", "far"):
        lab = Lab(tmp_path_factory.mktemp(caller))
        try:
            match = Match(KERNEL, caller, dataplane)
            run = watched(lab, make_far, match, underlay=underlay, overlay=overlay)
            script(run.pair, OVERLAY_MTU[overlay] - 28)
            run.capture.stop()
            runs.append((told(run, run.pair.first), told(run, run.pair.second)))
        finally:
            lab.close()
    (our_call, their_answer), (their_call, our_answer) = runs
    for ours, kernels in ((our_call, their_call), (our_answer, their_answer)):
        assert len(ours) > 15
        assert all(one["checksum"] == GOOD for one in (*ours, *kernels))
        for one, other in zip(ours, kernels, strict=True):
            assert one == other


# --- when it is sent ----------------------------------------------------------------------------

TOLERANCE = 0.6
"""Seconds: the guest's kernel is emulated, and has a tick of 4 ms besides."""
JITTER = 0.334
KEEPALIVE_TIMEOUT, REKEY_TIMEOUT = 10.0, 5.0
SILENCE = 28.0


def one_way(source: Far, target: Far) -> None:
    """A frame that arrives, and that nobody answers."""
    data = frame(mac_of(target.place, target.tap), mac_of(source.place, source.tap), b"one way")
    send_frames(source.place, source.tap, [data])


def fall_silent(node: Far) -> None:
    """From now on it hears nothing and says nothing."""
    if isinstance(node, WgvxNode):
        assert node.process is not None
        node.process.send_signal(signal.SIGSTOP)
    else:
        node.place.ip("link", "set", node.name, "down")


def play(run: Run) -> None:
    """The first end speaks once; the second hears it and has nothing to say. Then it is gone, and
    the first speaks on.
    """
    first, second = run.pair.first, run.pair.second
    one_way(first, second)
    time.sleep(KEEPALIVE_TIMEOUT + 1.5)
    fall_silent(second)
    end = time.monotonic() + SILENCE
    while time.monotonic() < end:
        one_way(first, second)
        time.sleep(0.5)
    run.capture.stop()
    if isinstance(second, WgvxNode) and second.process is not None:
        second.process.send_signal(signal.SIGCONT)


def assert_between(value: float, least: float, most: float, what: str) -> None:
    assert least - 0.01 <= value <= most + TOLERANCE, f"{what}: {value:.3f} s"


def assert_timely(run: Run) -> None:
    """What the paper says of the two ends, whoever plays them."""
    call, answer = (sent_by(node, run.packets) for node in (run.pair.first, run.pair.second))
    spoken = [p.time for p in call if p.tunnel is not None]
    # "If a peer has received a validly-authenticated transport data message [...] but does not have
    # any packets itself to send back for KEEPALIVE-TIMEOUT seconds, it sends a keepalive" (6.5).
    (kept,) = (packet.time for packet in keepalives(answer))
    heard = max(at for at in spoken if at < kept)
    assert_between(kept - heard, KEEPALIVE_TIMEOUT, KEEPALIVE_TIMEOUT, "keepalive")
    # Silence for KEEPALIVE-TIMEOUT + REKEY-TIMEOUT after what was sent begins a new handshake, and
    # it is tried again after REKEY-TIMEOUT and a jitter of up to 333 ms.
    unanswered = min(at for at in spoken if at > kept)
    tries = [packet.time for packet in of_kind(INITIATION, call)][1:]
    assert len(tries) == 3
    patience = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
    assert_between(tries[0] - unanswered, patience, patience + JITTER, "new handshake")
    for one, other in itertools.pairwise(tries):
        assert_between(other - one, REKEY_TIMEOUT, REKEY_TIMEOUT + JITTER, "next try")
    # Meanwhile data goes out under the old keys: nobody stops sending.
    assert spoken[-1] > tries[0]


def test_keepalives_and_retries_come_when_the_kernels_do(
    tmp_path_factory: pytest.TempPathFactory, make_far: MakeFar
) -> None:
    matches = [
        Match(KERNEL, caller, dataplane)
        for caller, dataplane in (("wgvx", "native"), ("far", "native"), ("far", "reference"))
    ]
    with contextlib.ExitStack() as labs:
        runs = []
        for match in matches:
            lab = Lab(tmp_path_factory.mktemp("timers"))
            labs.callback(lab.close)
            run = watched(lab, make_far, match)
            first, second = run.pair.first, run.pair.second
            silence_both(first, second)
            first.place.run("ping", "-n", "-c", "1", "-W", "5", second.address[4])
            runs.append(run)
        for run, error in at_once(play, runs).items():
            if error is not None:
                raise error
            assert_timely(run)

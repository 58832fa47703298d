"""The cases of the kernel's own suite that carry traffic: see :mod:`interop.selftests`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from interop.changing import silence_both
from interop.frames import send_frames
from interop.matches import BORINGTUN, ONE, PLAYS_ALL, Match
from interop.pair import MakeFar, Pair, make_pair
from interop.peers import Far
from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WgvxNode
from tests.netns.traffic import assert_ping, frame, mac_of

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
on_standing = pytest.mark.parametrize("standing", ONE, ids=str, indirect=True)

KILOBYTES_500 = 500_000
EXACT = tuple(match for match in ONE if match.far != BORINGTUN)
"""boringtun counts what is in the tunnel, not what is on the wire."""
IPERF_PORT = 5201


def iperf(client: Far, server: Far, family: int, *options: str) -> dict[str, Any]:
    """What iperf3's client tells of a run."""
    listener = server.place.start("iperf3", "-s", "-1", log="iperf3")
    eventually(lambda: f":{IPERF_PORT}" in server.place.run("ss", "-Hltn").stdout, "it listens")
    told = client.place.run(
        *("iperf3", "-J", "-c", server.address[family], *options), timeout=90
    ).stdout
    assert listener.wait() == 0, listener
    end: dict[str, Any] = json.loads(told)["end"]
    return end


@on_standing
@pytest.mark.parametrize("streams", [4, 5, 50] if PLAYS_ALL else [50])
def test_parallel_tcp(standing: Pair, streams: int) -> None:
    for number, (a, b) in enumerate(standing.ways):
        assert_ping(a.place, b.address[4], count=1)
        family = (4, 6)[number]
        end = iperf(a, b, family, "-P", str(streams), "-t", "1")
        received = [stream["receiver"]["bytes"] for stream in end["streams"]]
        assert len(received) == streams
        assert all(received)
        assert_ping(a.place, b.address[family], count=1)


def congested(pair: Pair) -> int:
    """What wgvx has dropped because it had waited for too long, as on a busy machine."""
    ends = (pair.ours, pair.theirs)
    return sum(end.drops("congested") for end in ends if isinstance(end, WgvxNode))


@on_standing
@pytest.mark.parametrize("family", [4, 6])
def test_udp(standing: Pair, family: int) -> None:
    """At a pace that every end keeps: nothing is lost that is not accounted for."""
    for a, b in standing.ways:
        assert_ping(a.place, b.address[family], count=1)
        before = congested(standing)
        end = iperf(a, b, family, "-u", "-l", "1200", "-b", "4M", "-n", str(KILOBYTES_500))
        assert end["sum"]["bytes"] >= KILOBYTES_500
        assert end["sum"]["lost_packets"] <= congested(standing) - before


@pytest.mark.parametrize("match", EXACT, ids=str, indirect=True)
def test_each_byte_is_counted_and_the_handshake_told(
    lab: Lab, match: Match, make_far: MakeFar
) -> None:
    pair = make_pair(lab, match, make_far)
    silence_both(pair.ours, pair.theirs)
    first, second = pair.first, pair.second
    assert_ping(first.place, second.address[4], count=2)
    for a, b in pair.ways:
        assert abs(time.time() - a.latest_handshake(b.id)) < 60
        # What one has sent the other has received, from the first message on.
        assert a.transfer(b.id) == b.transfer(a.id)[::-1]
    for a, b in pair.ways:
        before = a.transfer(b.id), b.transfer(a.id)
        frames = [
            frame(mac_of(b.place, b.tap), mac_of(a.place, a.tap), bytes(size))
            for size in (46, 100, 1000)
        ]
        send_frames(a.place, a.tap, frames)
        sent = sum(wire_length(len(one)) for one in frames)
        (received_a, sent_a), (received_b, sent_b) = before

        def all_there(b: Far = b, a: Far = a, wanted: int = received_b + sent) -> bool:
            return b.transfer(a.id)[0] == wanted

        eventually(all_there, f"{sent} bytes more")
        assert a.transfer(b.id) == (received_a, sent_a + sent)
        assert b.transfer(a.id) == (received_b + sent, sent_b)


def wire_length(length: int) -> int:
    """Of a frame of ours, as the datagram that carries it: IPv4, UDP and VXLAN round it, padded to
    16 bytes, and WireGuard's 32.
    """
    tunnel_packet = 20 + 8 + 8 + length
    return -(-tunnel_packet // 16) * 16 + 32

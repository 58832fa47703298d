"""Both data planes, the same datagrams, frames and edits: every byte that comes out, every counter
and every table is the same (:mod:`tests.dataplane.twins`).

WGVX_EQUALITY says how many times as many examples are drawn, others each time above 1: with 100 it
takes some twenty minutes.
"""

from __future__ import annotations

import os
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dataplane.rig import US, mac, tunnel
from tests.dataplane.steps.arriving import Arrive, Stream, incoming
from tests.dataplane.steps.calls import Say
from tests.dataplane.steps.edits import fdb_edits, node_edits, peer_edits
from tests.dataplane.steps.entering import EnterBulk, EnterLarge, outgoing
from tests.dataplane.steps.flows import inner_packet
from tests.dataplane.steps.handshakes import INDICES, Demand, handshakes, handshaking
from tests.dataplane.steps.passing import passes
from tests.dataplane.steps.step import Step, weighted
from tests.dataplane.steps.tunnel_packets import STRANGE, between
from tests.dataplane.twins import Twins, joining_class
from tests.support.dataplanes import LIBRARIES, NATIVE
from tests.support.segmenter import NEEDS_CSUM, TCP, VnetHeader
from tests.vxlan.packets import ethernet
from wgvx.dataplane.interface import Network
from wgvx.drops import Reason
from wgvx.vxlan.limits import Limits

TIMES = float(os.environ.get("WGVX_EQUALITY", "1"))

pytestmark = pytest.mark.timeout(600 * max(1, TIMES))  # shrinking takes its time


def examples(number: int) -> settings:
    """So many, the same ones each time; unless more are wished for."""
    return settings(
        max_examples=max(1, int(number * TIMES)),
        derandomize=TIMES <= 1,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    native: Any = dict(zip(LIBRARIES, NATIVE, strict=True))[name]
    for skip in native.marks:
        pytest.skip(skip.args[0])
    return name


def prepared(library: str, *, forward: bool = True) -> Twins:
    """Flood lists, a static entry, a default route, and a session that waits to be confirmed."""
    native: Any = joining_class()(library)
    twins = Twins(native, forward=forward)
    for number in (2, 3):
        twins.both("fdb_add", 42, bytes(6), tunnel(number))
        twins.both("fdb_add", 43, bytes(6), tunnel(number, 6))
    twins.both("fdb_add", 42, mac(9), tunnel(4))
    twins.both("add_allowed_ip", 4, (bytes(4), 0))
    twins.both("add_allowed_ip", 4, (bytes(16), 0))
    twins.connect(3, initiator=False)
    twins.check()
    return twins


def sequences(of: st.SearchStrategy[Step], most: int) -> st.SearchStrategy[list[Step]]:
    """Any length is as likely as another: st.lists() draws five or so."""
    return st.integers(0, most).flatmap(lambda n: st.lists(of, min_size=n, max_size=n))


EVERYTHING = weighted(
    (5, incoming),
    (4, outgoing),
    (2, handshaking),
    (2, passes),
    (2, peer_edits),
    (2, fdb_edits),
    (1, node_edits),
    (1, handshakes),
)
DATAGRAMS = weighted((5, incoming), (1, passes), (1, handshaking))
FRAMES = weighted((5, outgoing), (1, passes), (2, fdb_edits))
ANSWERS = st.builds(
    Say,
    st.sampled_from(["open_handshake", "open_handshake", "close_handshake"]),
    st.sampled_from(INDICES).map(lambda index: (index,)),
)
DEMANDS = st.builds(Demand, st.sampled_from([1, 60]))
HANDSHAKES = weighted((6, handshakes), (1, passes), (1, DEMANDS), (2, ANSWERS))


def run(twins: Twins, sequence: list[Step]) -> None:
    for step in sequence:
        step.run(twins)
        twins.check()


@given(sequence=sequences(EVERYTHING, 40), forward=st.booleans())
@examples(100)
def test_everything(library: str, sequence: list[Step], forward: bool) -> None:
    run(prepared(library, forward=forward), sequence)


@given(sequence=sequences(DATAGRAMS, 15))
@examples(60)
def test_datagrams(library: str, sequence: list[Step]) -> None:
    run(prepared(library), sequence)


@given(sequence=sequences(FRAMES, 20))
@examples(60)
def test_frames(library: str, sequence: list[Step]) -> None:
    run(prepared(library), sequence)


@given(sequence=sequences(HANDSHAKES, 20), demanded=st.booleans())
@examples(40)
def test_handshake_messages(library: str, sequence: list[Step], demanded: bool) -> None:
    run(prepared(library), [Demand(60 * demanded), *sequence])


def test_a_checksum_may_belong_into_the_ip_header(library: str) -> None:
    """So that it changes what the tunnel packet says of the frame's flow and congestion."""
    twins = prepared(library)
    flow = inner_packet(4, TCP, 1, 100, 7)
    frame = ethernet(flow, destination=mac(2), source=mac(US))
    for offset in (0, 1, 12, 20):
        EnterLarge(0, VnetHeader(NEEDS_CSUM, 0, 0, 0, 14, offset), frame).run(twins)
        twins.check()


@pytest.mark.parametrize("family", [4, 6])
def test_addresses_that_no_host_has(library: str, family: int) -> None:
    """From the peer that the default route leads to, and on to another."""
    twins = prepared(library)
    twins.both("remove_allowed_ip", 4, (bytes(4 if family == 4 else 16), 0))
    twins.both("add_allowed_ip", 2, (bytes(4 if family == 4 else 16), 1))
    twins.both("add_allowed_ip", 4, (b"\x80" + bytes(3 if family == 4 else 15), 1))
    ends = [*STRANGE[family], tunnel(2, family), tunnel(US, family)]
    for peer, source, destination in product((2, 4), ends, ends):
        plaintext = between(source, destination)
        Arrive(peer - 2, -1, ((plaintext, "arrives"),), 0, 0).run(twins)
    twins.check()


def test_long_runs_are_joined(library: str) -> None:
    """What the steps above draw does reach the coalescing, and in whole runs."""
    twins = prepared(library)
    stream = Stream(0, 1, (4, 4), TCP, 1200, 50, (0, 0, 0), (0, b""))
    stream.run(twins)
    assert twins.joins == 49


@pytest.mark.parametrize("port", [1, 2])
def test_of_a_large_frame_as_many_segments_go_as_may(library: str, port: int) -> None:
    twins = prepared(library)
    for vni in twins.networks:
        twins.set_network(Network(vni, limits=Limits(unknown=3)))
    EnterBulk(port, TCP, 5000, 1200, mac(2), 0).run(twins)
    assert twins.reference.drops()[Reason.UNKNOWN_LIMIT] == 2
    twins.check()

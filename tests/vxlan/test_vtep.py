"""One bridge domain: every rule that a frame meets, and the order they come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import (
    A4,
    A6,
    B4,
    B6,
    BROADCAST,
    MAC_A,
    MAC_B,
    MAC_C,
    address,
    assert_drop,
    dropped,
    ethernet,
)
from wgvx.drops import Reason
from wgvx.vxlan.ethernet import ZERO_GROUP_IPV4, ZERO_GROUP_IPV6
from wgvx.vxlan.fdb import FLOOD, Local, Remote
from wgvx.vxlan.limits import Limits
from wgvx.vxlan.vtep import Forwarding, Prefix, Vtep
from wgvx.vxlan.watch import ETHERTYPE_PROBE, PROBE_GROUP, Watch

GROUP = bytes.fromhex("01005e000001")
OWN_1, OWN_2 = bytes.fromhex("0200000000f1"), bytes.fromhex("0200000000f2")


def new(
    *,
    ports: dict[int, bytes | None] | None = None,
    flood: tuple[bytes, ...] = (A4, B4),
    learning: bool = True,
    accept: list[Prefix] | None = None,
) -> Vtep:
    vtep = Vtep(
        vni=4200,
        udp_port=4789,
        learning=learning,
        ageing=300 * 10**9,
        max_entries=65536,
        accept=accept,
    )
    for port, mac in ({1: OWN_1} if ports is None else ports).items():
        vtep.add_port(port, mac)
    for remote in flood:
        vtep.fdb.add(FLOOD, remote)
    return vtep


def frame(destination: bytes, source: bytes = MAC_A) -> bytes:
    return ethernet(bytes(46), destination=destination, source=source)


def outbound(vtep: Vtep, port: int, frame: bytes, now: int) -> Forwarding:
    """All that a frame from a port meets."""
    assert not vtep.enter(port, frame, now)
    return vtep.forward(Local(port), frame, now)


def inbound(vtep: Vtep, source: bytes, frame: bytes, now: int) -> tuple[int, ...]:
    """All that a frame from a VTEP meets; its ports."""
    assert not vtep.arrive(source, frame, now)
    forwarding = vtep.forward(Remote(source), frame, now)
    assert forwarding.remotes == ()
    return forwarding.ports


BRIDGE: dict[int, bytes | None] = {1: OWN_1, 2: None, 3: OWN_2}

# ---- outbound ----


@pytest.mark.parametrize("destination", [BROADCAST, GROUP, MAC_B, FLOOD])
def test_bum_goes_everywhere_else(destination: bytes) -> None:
    vtep = new(ports=BRIDGE)
    assert outbound(vtep, 2, frame(destination), 0) == Forwarding((1, 3), (A4, B4))
    assert outbound(vtep, 1, frame(destination, OWN_1), 0) == Forwarding((2, 3), (A4, B4))


def test_known_remote() -> None:
    vtep = new(ports=BRIDGE)
    inbound(vtep, B6, frame(BROADCAST, MAC_B), 0)
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((), (B6,))
    assert outbound(vtep, 1, frame(MAC_B), 300 * 10**9) == Forwarding((2, 3), (A4, B4))


def test_known_on_another_port() -> None:
    vtep = new(ports=BRIDGE)
    outbound(vtep, 2, frame(BROADCAST, MAC_B), 0)
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((2,), ())
    assert outbound(vtep, 2, frame(OWN_2, MAC_B), 0) == Forwarding((3,), ())


def test_known_on_the_same_port() -> None:
    vtep = new(ports=BRIDGE)
    outbound(vtep, 2, frame(BROADCAST, MAC_B), 0)
    assert_drop(Reason.SAME_PORT, outbound, vtep, 2, frame(MAC_B), 0)
    assert vtep.fdb.lookup(MAC_A, 0) == Local(2)  # learned all the same


def test_a_group_with_its_own_remotes() -> None:
    vtep = new(ports=BRIDGE)
    vtep.fdb.add(GROUP, A6)
    vtep.fdb.add(GROUP, B6)
    assert outbound(vtep, 1, frame(GROUP), 0) == Forwarding((2, 3), (A6, B6))
    assert outbound(vtep, 1, frame(BROADCAST), 0) == Forwarding((2, 3), (A4, B4))


def test_nowhere_to_go() -> None:
    vtep = new(flood=())
    assert_drop(Reason.NO_REMOTE, outbound, vtep, 1, frame(MAC_B), 0)
    vtep.add_port(2, None)
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((2,), ())


@pytest.mark.parametrize("length", range(14))
def test_short_frames(length: int) -> None:
    short = frame(BROADCAST)[:length]
    assert_drop(Reason.SHORT_FRAME, outbound, new(), 1, short, 0)
    assert_drop(Reason.SHORT_FRAME, inbound, new(), A4, short, 0)


def test_fourteen_bytes_are_a_frame() -> None:
    shortest = frame(BROADCAST)[:14]
    assert outbound(new(), 1, shortest, 0) == Forwarding((), (A4, B4))
    assert inbound(new(), A4, shortest, 0) == (1,)


@pytest.mark.parametrize("source", [BROADCAST, GROUP, bytes(6)])
def test_no_station_has_such_an_address(source: bytes) -> None:
    assert_drop(Reason.BAD_SOURCE_MAC, outbound, new(), 1, frame(MAC_B, source), 0)
    assert_drop(Reason.BAD_SOURCE_MAC, outbound, new(learning=False), 1, frame(MAC_B, source), 0)
    assert_drop(Reason.BAD_SOURCE_MAC, inbound, new(), A4, frame(MAC_B, source), 0)
    assert inbound(new(learning=False), A4, frame(MAC_B, source), 0) == (1,)


@pytest.mark.parametrize("last", [*range(18), 0x20, 0x21])
def test_reserved_groups(last: int) -> None:
    vtep = new()
    control = frame(bytes.fromhex("0180c20000") + bytes((last,)))
    if 1 <= last <= 15:
        assert_drop(Reason.RESERVED_GROUP, outbound, vtep, 1, control, 0)
        assert_drop(Reason.RESERVED_GROUP, inbound, vtep, A4, control, 0)
        assert vtep.fdb.lookup(MAC_A, 0) is None
    else:
        assert outbound(vtep, 1, control, 0).remotes == (A4, B4)
        assert inbound(vtep, A4, control, 0) == (1,)


# ---- inbound ----


def test_inbound_learns_and_delivers() -> None:
    vtep = new(ports=BRIDGE)
    assert inbound(vtep, A4, frame(OWN_2, MAC_B), 0) == (3,)
    assert vtep.fdb.lookup(MAC_B, 0) == Remote(A4)
    for destination in (BROADCAST, GROUP, MAC_C):
        assert inbound(vtep, A4, frame(destination, MAC_B), 0) == (1, 2, 3)
    outbound(vtep, 2, frame(BROADCAST, MAC_C), 0)
    assert inbound(vtep, A4, frame(MAC_C, MAC_B), 0) == (2,)


def test_split_horizon() -> None:
    """A frame for a station behind another VTEP goes to our ports alone."""
    vtep = new(ports=BRIDGE)
    inbound(vtep, B4, frame(BROADCAST, MAC_C), 0)
    assert inbound(vtep, A4, frame(MAC_C, MAC_B), 0) == (1, 2, 3)


def test_a_station_moves_at_once() -> None:
    vtep = new(ports=BRIDGE)
    inbound(vtep, A4, frame(BROADCAST, MAC_B), 0)
    inbound(vtep, B4, frame(BROADCAST, MAC_B), 0)
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((), (B4,))
    outbound(vtep, 2, frame(BROADCAST, MAC_B), 0)
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((2,), ())


def test_own_mac() -> None:
    for learning in (True, False):
        vtep = new(ports=BRIDGE, learning=learning)
        assert_drop(Reason.OWN_MAC, inbound, vtep, A4, frame(BROADCAST, OWN_2), 0)


def test_static_moved() -> None:
    vtep = new(ports=BRIDGE)
    vtep.fdb.add(MAC_B, A4)
    assert inbound(vtep, A4, frame(BROADCAST, MAC_B), 0) == (1, 2, 3)
    assert_drop(Reason.STATIC_MOVED, inbound, vtep, B4, frame(BROADCAST, MAC_B), 0)
    assert_drop(Reason.STATIC_MOVED, outbound, vtep, 1, frame(BROADCAST, MAC_B), 0)
    assert_drop(Reason.STATIC_MOVED, outbound, vtep, 1, frame(BROADCAST, OWN_2), 0)
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((), (A4,))


def test_learning_off() -> None:
    vtep = new(ports=BRIDGE, learning=False)
    vtep.fdb.add(MAC_B, A4)
    assert inbound(vtep, B4, frame(BROADCAST, MAC_B), 0) == (1, 2, 3)
    inbound(vtep, B4, frame(BROADCAST, MAC_C), 0)
    assert outbound(vtep, 1, frame(MAC_C), 0) == Forwarding((2, 3), (A4, B4))
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((), (A4,))


def test_without_a_port() -> None:
    vtep = new(ports={})
    assert inbound(vtep, A4, frame(BROADCAST), 0) == ()
    assert vtep.fdb.lookup(MAC_A, 0) == Remote(A4)


ACCEPT: list[Prefix] = [
    (address("10.254.0.2"), 32),
    (address("10.1.0.0"), 16),
    (address("fd00::"), 64),
]


@pytest.mark.parametrize(
    ("source", "heard"),
    [
        ("10.254.0.2", True),
        ("10.254.0.3", False),
        ("10.1.255.1", True),
        ("10.2.0.1", False),
        ("fd00::9", True),
        ("fd00:0:0:1::9", False),
        ("::a01:1", False),  # the bits of 10.1.0.1 in the other family
    ],
)
def test_accept(source: str, heard: bool) -> None:
    vtep = new(accept=ACCEPT)
    if heard:
        assert inbound(vtep, address(source), frame(BROADCAST), 0) == (1,)
    else:
        assert_drop(Reason.VTEP_NOT_ACCEPTED, inbound, vtep, address(source), frame(BROADCAST), 0)
        assert vtep.fdb.lookup(MAC_A, 0) is None


def test_accept_all_families_or_nobody() -> None:
    everyone = new(accept=[(bytes(4), 0)])
    assert inbound(everyone, A4, frame(BROADCAST), 0) == (1,)
    assert_drop(Reason.VTEP_NOT_ACCEPTED, inbound, everyone, A6, frame(BROADCAST), 0)
    nobody = new(accept=[])
    assert_drop(Reason.VTEP_NOT_ACCEPTED, inbound, nobody, A4, frame(BROADCAST), 0)
    nobody.set_accept(None)
    assert inbound(nobody, A6, frame(BROADCAST), 0) == (1,)


def test_the_order_of_the_inbound_rules() -> None:
    """A frame that breaks several rules counts under the first."""
    vtep = new(accept=[(A4, 32)])
    reserved = bytes.fromhex("0180c2000001")
    vtep.fdb.add(MAC_B, B4)
    for reason, source, data in [
        (Reason.VTEP_NOT_ACCEPTED, B4, b""),
        (Reason.SHORT_FRAME, A4, frame(reserved, OWN_1)[:13]),
        (Reason.OWN_MAC, A4, frame(reserved, OWN_1)),
        (Reason.BAD_SOURCE_MAC, A4, frame(reserved, BROADCAST)),
        (Reason.RESERVED_GROUP, A4, frame(reserved, MAC_B)),
        (Reason.STATIC_MOVED, A4, frame(BROADCAST, MAC_B)),
    ]:
        assert_drop(reason, inbound, vtep, source, data, 0)


def test_the_order_of_the_outbound_rules() -> None:
    vtep = new(flood=())
    reserved = bytes.fromhex("0180c2000001")
    vtep.fdb.add(MAC_B, B4)
    for reason, data in [
        (Reason.SHORT_FRAME, frame(reserved, BROADCAST)[:13]),
        (Reason.BAD_SOURCE_MAC, frame(reserved, BROADCAST)),
        (Reason.RESERVED_GROUP, frame(reserved, MAC_B)),
        (Reason.STATIC_MOVED, frame(BROADCAST, MAC_B)),
        (Reason.SAME_PORT, frame(OWN_1)),
        (Reason.NO_REMOTE, frame(BROADCAST)),
    ]:
        assert_drop(reason, outbound, vtep, 1, data, 0)


# ---- ports ----


def test_remove_port() -> None:
    vtep = new(ports=BRIDGE)
    outbound(vtep, 3, frame(BROADCAST, MAC_B), 0)
    vtep.remove_port(3)
    assert list(vtep.ports) == [1, 2]
    assert outbound(vtep, 1, frame(MAC_B), 0) == Forwarding((2,), (A4, B4))
    assert inbound(vtep, A4, frame(BROADCAST, OWN_2), 0) == (1, 2)  # no longer ours
    vtep.add_port(3, None)
    assert list(vtep.ports) == [1, 2, 3]


def test_ports_and_addresses_are_taken_once() -> None:
    vtep = new()
    with pytest.raises(ValueError, match="port 1 is attached"):
        vtep.add_port(1, None)
    with pytest.raises(ValueError, match="02:00:00:00:00:f1"):
        vtep.add_port(2, OWN_1)
    assert list(vtep.ports) == [1]


def test_networks_share_nothing() -> None:
    one, two = new(), new()
    inbound(one, A4, frame(BROADCAST, MAC_B), 0)
    assert two.fdb.lookup(MAC_B, 0) is None


# ---- whatever comes ----

STATIONS = st.sampled_from([MAC_A, MAC_B, MAC_C, OWN_1, OWN_2, BROADCAST, GROUP, bytes(6)])
FRAMES = st.one_of(
    st.binary(max_size=40),
    st.builds(frame, STATIONS, STATIONS),
)


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, A4, B4, A6]), FRAMES), max_size=30),
    st.booleans(),
)
def test_no_loop_whatever_comes(arrivals: list[tuple[int | bytes, bytes]], learning: bool) -> None:
    """No copy goes back to where a frame came from, none twice to one place."""
    vtep = new(ports=BRIDGE, learning=learning)
    for now, (origin, data) in enumerate(arrivals):

        def forward(origin: int | bytes = origin, data: bytes = data, now: int = now) -> None:
            if isinstance(origin, int):
                ports, remotes = outbound(vtep, origin, data, now)
                assert origin not in ports
                assert ports or remotes
                assert len({*remotes}) == len(remotes)
            else:
                ports = inbound(vtep, origin, data, now)
                assert ports
            assert {*ports} <= {1, 2, 3}
            assert len({*ports}) == len(ports)

        dropped(forward)
    # Three addresses that stations may have; the rest is ours or nobody's.
    learned = [row.mac for row in vtep.fdb.rows(0) if row.age_seconds is not None]
    assert all(not mac[0] & 1 and mac not in {OWN_1, OWN_2, bytes(6)} for mac in learned)


# ---- limits, watched frames, groups, blocked ports ----


def test_limits_are_of_a_kind_and_of_a_place() -> None:
    vtep = new(ports=BRIDGE)
    vtep.limiter.limits = Limits(broadcast=2, multicast=0, unknown=1)
    for port in (1, 2):
        assert outbound(vtep, port, frame(BROADCAST), 0).remotes == (A4, B4)
        assert outbound(vtep, port, frame(BROADCAST), 0).remotes == (A4, B4)
        assert dropped(lambda port=port: outbound(vtep, port, frame(BROADCAST), 0)) is (
            Reason.BROADCAST_LIMIT
        )
    assert outbound(vtep, 1, frame(GROUP), 0).remotes == (A4, B4)
    assert outbound(vtep, 1, frame(MAC_C), 0).remotes == (A4, B4)
    assert dropped(lambda: outbound(vtep, 1, frame(MAC_C), 0)) is Reason.UNKNOWN_LIMIT
    inbound(vtep, A4, frame(BROADCAST, MAC_B), 0)
    inbound(vtep, A4, frame(BROADCAST, MAC_B), 0)
    assert dropped(lambda: inbound(vtep, A4, frame(BROADCAST, MAC_B), 0)) is Reason.BROADCAST_LIMIT
    assert inbound(vtep, B6, frame(BROADCAST, MAC_C), 0) == (1, 2, 3)
    assert outbound(vtep, 1, frame(MAC_C), 0).remotes == (B6,)  # Placed: no limit.
    assert outbound(vtep, 1, frame(BROADCAST), 10**9).remotes == (A4, B4)


def test_a_watched_frame_is_learned_from_and_handed_up_within_bounds() -> None:
    vtep = new()
    arp = ethernet(bytes(28), 0x0806, destination=BROADCAST, source=MAC_A)
    assert not vtep.enter(1, arp, 0)
    vtep.watch = Watch.ARP
    assert sum(vtep.enter(1, arp, 0) for _ in range(1500)) == 1000
    assert vtep.arrive(A4, ethernet(bytes(28), 0x0806, source=MAC_B), 10**9)
    assert vtep.fdb.lookup(MAC_A, 0) == Local(1)
    assert vtep.fdb.lookup(MAC_B, 0) == Remote(A4)
    assert not vtep.enter(1, frame(BROADCAST), 2 * 10**9)


def test_a_probe_is_handed_up_from_a_blocked_port_and_with_our_own_mac() -> None:
    vtep = new()
    vtep.watch = Watch.PROBES
    probe = ethernet(bytes(46), ETHERTYPE_PROBE, destination=PROBE_GROUP, source=OWN_1)
    vtep.set_blocked(1, True)
    assert vtep.enter(1, probe, 0)
    assert vtep.arrive(A4, probe, 0)
    assert dropped(lambda: vtep.enter(1, frame(BROADCAST), 0)) is Reason.PORT_BLOCKED
    for _ in range(998):
        vtep.enter(1, probe, 0)
    assert dropped(lambda: vtep.enter(1, probe, 0)) is Reason.SLOW_PATH
    vtep.set_blocked(1, False)
    assert outbound(vtep, 1, frame(BROADCAST), 0).remotes == (A4, B4)


def test_a_group_goes_to_its_members_and_others_to_routers() -> None:
    vtep = new(ports=BRIDGE)
    groups = "01005e010203", "01005e050505", "01005e0000fb"
    video, other, local = map(bytes.fromhex, groups)
    vtep.set_group(video, Forwarding((3, 2, 9), (B4,)))
    assert outbound(vtep, 1, frame(video), 0) == Forwarding((2, 3), (B4,))
    assert outbound(vtep, 2, frame(video), 0) == Forwarding((3,), (B4,))
    assert inbound(vtep, A4, frame(video, MAC_B), 0) == (2, 3)
    assert outbound(vtep, 1, frame(other), 0) == Forwarding((2, 3), (A4, B4))
    vtep.set_group(ZERO_GROUP_IPV6, Forwarding((), ()))
    assert outbound(vtep, 1, frame(other), 0) == Forwarding((2, 3), (A4, B4))
    vtep.set_group(ZERO_GROUP_IPV4, Forwarding((), (A4,)))
    assert outbound(vtep, 1, frame(other), 0) == Forwarding((), (A4,))
    assert outbound(vtep, 1, frame(local), 0) == Forwarding((2, 3), (A4, B4))
    vtep.fdb.add(video, A6)  # By hand.
    assert outbound(vtep, 1, frame(video), 0) == Forwarding((2, 3), (A6,))
    vtep.set_group(video, None)
    tagged = ethernet(bytes(46), destination=other, source=MAC_A, tags=((0x8100, 7),))
    assert outbound(vtep, 1, tagged, 0) == Forwarding((2, 3), (A4, B4))
    vtep.set_group(ZERO_GROUP_IPV4, None)
    assert outbound(vtep, 1, frame(other), 0) == Forwarding((2, 3), (A4, B4))


def test_a_frame_may_be_told_where_everywhere_is() -> None:
    vtep = new(ports=BRIDGE)
    video = bytes.fromhex("01005e010203")
    vtep.set_group(video, Forwarding((), ()))
    vtep.fdb.add(video, A6)
    to = Forwarding((1, 2), (B4,))
    assert vtep.forward(Local(1), frame(video), 0, to) == Forwarding((2,), (B4,))
    assert vtep.forward(Remote(A4), frame(video), 0, to) == Forwarding((1, 2), ())
    assert_drop(Reason.NO_REMOTE, vtep.forward, Local(1), frame(video), 0, Forwarding((1,), ()))
    vtep.fdb.learn(MAC_B, Local(3), 0)
    assert vtep.forward(Local(1), frame(MAC_B), 0, to) == Forwarding((3,), ())

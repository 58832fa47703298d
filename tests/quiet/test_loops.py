"""What leaves by a port and comes back finds a loop, and one blocked port opens it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataplane.rig import PORT, SECOND, US, VNI, frame_to, mac, tunnel
from tests.quiet.lans import Lans, Node
from tests.quiet.site import SECOND_PORT, Site
from tests.support.dataplanes import DataPlaneClass
from tests.vxlan.packets import BROADCAST, mutated
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.quiet import loop_probe
from wgvx.quiet.loop_probe import Probe
from wgvx.quiet.loops import LoopDetection
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.watch import Watch, kind_of

LOWER, HIGHER = b"\x01" * 8, b"\x02" * 8
OTHERS_KEY = b"somebody else's"


@pytest.fixture
def site(dataplane_class: DataPlaneClass) -> Site:
    return Site(dataplane_class, LoopDetection)


def probes(site: Site) -> dict[int, bytes]:
    """What the next tick sends, by port."""
    site.leaves()
    site.rig.now = max(site.now, site.feature.next_deadline() or 0)
    site.feature.expire(site.now)
    frames, sent = site.leaves()
    assert not sent
    assert all(len(of_port) == 1 for of_port in frames.values())
    return {port: frame for port, (frame,) in frames.items()}


def is_blocked(site: Site, port: int) -> bool:
    """Whether a broadcast that enters there gets nowhere."""
    site.leaves()
    frames, vteps = site.enters(frame_to(BROADCAST, US), port)
    assert bool(frames) == bool(vteps)
    return not vteps


def from_other(hops: int = loop_probe.MAX_HOPS) -> bytes:
    return loop_probe.frame(Probe(VNI, 1, 1, HIGHER, hops), OTHERS_KEY)


def test_a_probe_leaves_by_each_port_alone_again_and_again(site: Site) -> None:
    first, second = probes(site), probes(site)
    for number, sent in enumerate((first, second), 1):
        assert sorted(sent) == [PORT, SECOND_PORT]
        for port, frame in sent.items():
            probe = loop_probe.parse(frame)
            assert probe is not None
            assert (probe.vni, probe.port, probe.sequence) == (VNI, port, number)
            assert len(frame) == 60
            assert kind_of(frame) is Watch.PROBES
            # A bridge that it comes back to must not find its own address in it.
            assert frame[6:12] != mac(US)
            assert frame[6] & 3 == 2
    assert first[PORT][6:12] == second[PORT][6:12]
    assert first[PORT][6:12] != first[SECOND_PORT][6:12]


def test_back_from_a_vtep_blocks_the_port_that_it_left_by(site: Site) -> None:
    probe = probes(site)[SECOND_PORT]
    frames, vteps = site.arrives(probe)
    assert vteps == [2, 3]  # They are told that stations have moved.
    assert all(loop_probe.is_moved(frame) for (frame,) in frames.values())
    assert is_blocked(site, SECOND_PORT)
    assert site.arrives(frame_to(BROADCAST, 9))[0] == {PORT: [frame_to(BROADCAST, 9)]}
    assert site.said == [
        "network 42: a loop: what leaves by port2 comes back from VTEP 10.254.0.2; "
        "port2 is blocked until that ends"
    ]
    site.wait(5)
    shown = site.feature.show(site.now)
    assert shown["blocked"] == [
        {
            "port": "port2",
            "seconds": 5,
            "way": "what leaves by port2 comes back from VTEP 10.254.0.2",
        }
    ]
    assert shown["blocked_ports"] == shown["blockings"] == shown["probes_returned"] == 1
    # It goes on probing.
    assert sorted(probes(site)) == [PORT, SECOND_PORT]


@pytest.mark.parametrize(("left", "came"), [(PORT, SECOND_PORT), (SECOND_PORT, PORT)])
def test_between_two_ports_the_later_is_blocked(site: Site, left: int, came: int) -> None:
    site.enters(probes(site)[left], came)
    assert is_blocked(site, SECOND_PORT)
    assert not site.enters(frame_to(BROADCAST, US), PORT)[0]
    assert site.enters(frame_to(BROADCAST, US), PORT)[1] == [2, 3]
    assert f"port{left}" in site.said[0].partition(" comes back at ")[0]
    assert f"port{came}" in site.said[0].partition(" comes back at ")[2]


def test_a_loop_behind_a_port_itself_blocks_it(site: Site) -> None:
    site.enters(probes(site)[PORT], PORT)
    assert is_blocked(site, PORT)
    assert "what leaves by port1 (02:00:00:00:00:01) comes back there" in site.said[0]


def test_it_opens_when_nothing_came_back_for_three_probes(site: Site) -> None:
    for _ in range(4):
        site.arrives(probes(site)[PORT])
        assert is_blocked(site, PORT)
    site.wait(6)
    assert is_blocked(site, PORT)
    site.wait(4)
    assert not is_blocked(site, PORT)
    assert site.said[1:] == [
        "network 42: no loop any more for 7 s: port1 (02:00:00:00:00:01) is open again"
    ]


def seconds_blocked(site: Site) -> float:
    blocked = "blocked_ports"
    site.arrives(probes(site)[PORT])
    before = site.now
    assert site.feature.show(before)[blocked] == 1
    while site.feature.show(site.now)[blocked]:
        probes(site)
    return (site.now - before) / SECOND


def test_each_relapse_holds_longer_and_none_for_ever(site: Site) -> None:
    for expected in (7, 14, 28, 56, 112, 224, 300, 300, 300):
        site.wait(0)  # Sessions last three minutes.
        assert expected <= seconds_blocked(site) <= expected + 4
    site.wait(601)
    assert seconds_blocked(site) <= 11


def test_others_probes_go_on_and_end(site: Site) -> None:
    probes(site)
    frames, vteps = site.enters(from_other(), PORT)
    assert vteps == [2, 3]
    (onward,) = frames[SECOND_PORT]
    probe = loop_probe.parse(onward)
    assert probe is not None
    assert (probe.hops, probe.carrier, probe.node) == (
        loop_probe.MAX_HOPS - 1,
        bytes(7) + bytes((VNI,)),
        HIGHER,
    )
    assert probe.is_made_with(OTHERS_KEY)
    assert onward[6:12] == from_other()[6:12]
    assert site.arrives(from_other())[0].keys() == {PORT, SECOND_PORT}
    assert site.enters(from_other(hops=1)) == ({}, [])
    assert site.enters(from_other(hops=0)) == ({}, [])
    assert not site.said


def test_others_probes_do_not_pass_a_blocked_port(site: Site) -> None:
    site.arrives(probes(site)[SECOND_PORT])
    assert site.enters(from_other(), SECOND_PORT) == ({}, [])
    assert site.arrives(from_other())[0].keys() == {PORT}


def test_a_blocked_ports_stations_are_forgotten_here(site: Site) -> None:
    site.enters(frame_to(BROADCAST, 9), SECOND_PORT)
    assert site.enters(frame_to(9, US)) == ({SECOND_PORT: [frame_to(9, US)]}, [])
    site.arrives(probes(site)[SECOND_PORT])
    assert site.enters(frame_to(9, US)) == ({}, [2, 3])


def test_a_vteps_stations_are_forgotten_when_it_says_so(site: Site) -> None:
    for vtep in (2, 3):
        site.arrives(frame_to(BROADCAST, 10 + vtep), vtep)
    moved = loop_probe.moved(from_other())
    assert site.enters(moved, PORT) == ({}, [])
    assert site.enters(frame_to(12, US))[1] == [2]
    assert site.arrives(moved, 2) == ({}, [])
    assert site.enters(frame_to(12, US))[1] == [2, 3]
    assert site.enters(frame_to(13, US))[1] == [3]
    for _ in range(11):
        site.arrives(moved, 2)
    site.arrives(frame_to(BROADCAST, 12), 2)
    site.arrives(moved, 2)
    assert site.enters(frame_to(12, US))[1] == [2]
    site.arrives(moved, 3)  # It has its own turn.
    assert site.enters(frame_to(13, US))[1] == [2, 3]


def test_what_was_recorded_is_worth_nothing(site: Site) -> None:
    old = probes(site)[PORT]
    for _ in range(3):
        probes(site)
    assert site.arrives(old) == ({}, [])
    assert not is_blocked(site, PORT)
    assert site.feature.show(site.now)["probes_ignored"] == 1


@given(st.data())
def test_a_changed_probe_blocks_nothing(data: st.DataObject) -> None:
    site = Site(ReferenceDataPlane, LoopDetection)
    frame = probes(site)[PORT]
    changed = data.draw(mutated([frame]))
    places: list[Local | Remote] = [Local(PORT), Local(SECOND_PORT), Remote(tunnel(2))]
    site.feature.handle(data.draw(st.sampled_from(places)), changed, site.now)
    said = loop_probe.parse(changed)
    # Hops and carrier are not under the tag, as they change on the way.
    ours = said is not None and said._replace(hops=0, carrier=b"") == _stripped(frame)
    waits = ours and said is not None and said.carrier > bytes(7) + bytes((VNI,))
    assert bool(site.said) == (ours and not waits)


def _stripped(frame: bytes) -> Probe:
    probe = loop_probe.parse(frame)
    assert probe is not None
    return probe._replace(hops=0, carrier=b"")


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_dealt_with(payload: bytes, magic: bool) -> None:
    site = Site(ReferenceDataPlane, LoopDetection)
    probes(site)
    frame = from_other()[:14] + (b"loop\x01" if magic else b"") + payload
    assert site.feature.handle(Local(PORT), frame, site.now)
    assert site.feature.handle(Remote(tunnel(2)), frame, site.now)
    assert not site.said


def test_switched_off_it_opens_what_it_blocked(site: Site) -> None:
    site.arrives(probes(site)[PORT])
    site.feature.close(site.now)
    assert not is_blocked(site, PORT)


# ---- several nodes, their LANs, and the cables between them --------------------------------


Make = Callable[..., tuple[Lans, list[Node]]]


@pytest.fixture
def lans() -> Make:
    def make(*identities: bytes | None) -> tuple[Lans, list[Node]]:
        lans = Lans()
        return lans, [lans.node(identity) for identity in identities]

    return make


def test_no_cable_no_loop(lans: Make) -> None:
    lab, nodes = lans(LOWER, HIGHER, None)
    lab.run(30)
    assert not any(node.blocked for node in nodes)


@pytest.mark.parametrize("order", [(LOWER, HIGHER), (HIGHER, LOWER)])
def test_of_two_that_detect_it_the_greater_blocks(lans: Make, order: tuple[bytes, bytes]) -> None:
    lab, nodes = lans(*order)
    lab.join(*nodes)
    lab.run(60)
    assert [node.blockings for node in nodes] == [identity == HIGHER for identity in order]
    assert not lab.loops()


def test_who_is_alone_blocks_whatever_its_identity(lans: Make) -> None:
    lab, (ours, theirs) = lans(LOWER, None)
    lab.join(ours, theirs)
    lab.run(3)
    assert ours.blocked
    assert not lab.loops()


def test_three_on_one_lan_leave_one_open(lans: Make) -> None:
    lab, nodes = lans(LOWER, HIGHER, b"\x03" * 8)
    lab.join(*nodes)
    lab.run(60)
    assert [bool(node.blocked) for node in nodes] == [False, True, True]
    assert not lab.loops()


def test_where_the_greater_does_not_block_the_other_does(lans: Make) -> None:
    lab, (lower, higher) = lans(LOWER, HIGHER)
    lab.join(lower, higher)
    higher.is_deaf = True  # Its own never reach it.
    lab.run(4)
    assert not lower.blocked
    lab.run(8)
    assert lower.blocked
    assert not lab.loops()


def test_the_cable_taken_away_opens_it(lans: Make) -> None:
    lab, (lower, higher) = lans(LOWER, HIGHER)
    lab.join(lower, higher)
    lab.run(30)
    assert higher.blocked
    lab.part()
    lab.run(12)
    assert not higher.blocked
    assert higher.blockings == 1
    # Who had stations by way of the other hears that they may be anywhere.
    assert higher.forgot == [PORT, lower.address]
    assert lower.forgot == [higher.address, PORT]


def test_the_other_node_gone_opens_it(lans: Make) -> None:
    lab, (lower, higher) = lans(LOWER, HIGHER)
    lab.join(lower, higher)
    lab.run(30)
    lower.is_down = True
    lab.run(12)
    assert not higher.blocked

"""The kernel's own VXLAN selftests, their cases played with our VTEP and the kernel's.

Nothing here is theirs: each case is made anew, and given to four ends at a time, the kernel's VXLAN
behind kernel WireGuard and behind wireguard-go, and ours in both data planes. All must do the same,
or the test says what each does. selftests.py tells which case became which test.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from interop.crafting import (
    CE,
    DECAPSULATED,
    ECT_0,
    ENCAPSULATED,
    EXPEDITED,
    FROM,
    KINDS,
    LINUX,
    NOT_ECT,
    TO,
    VXLAN_PORT,
    Bench,
    Case,
    inner,
    vxlan,
)
from interop.frames import recording, send_frames
from interop.matches import GO, KERNEL, PLAYS_ALL
from interop.pair import MakeFar
from interop.peers import Far
from interop.sites import (
    add_static,
    assert_learns,
    delete,
    new_station,
    recordings,
    speak,
    vtep,
    whereabouts,
)
from tests.netns.lab import Lab
from tests.netns.nodes import FLOOD_MAC, VNI
from tests.netns.traffic import BROADCAST, frame, mac_of

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

FAR = KERNEL

SECOND, DEAF, FORGETFUL = 4300, 4400, 4500
"""More VNIs: an ordinary one, one that learns nothing, one that forgets in seconds."""
AGEING = 6
NETWORKS: dict[int, tuple[dict[str, object], tuple[str, ...]]] = {
    SECOND: ({}, ()),
    DEAF: ({"learning": False}, ("nolearning",)),
    FORGETFUL: ({"ageing": AGEING}, ("ageing", str(AGEING))),
}
COLLECTING = 10
"""Seconds between two times that the kernel removes aged entries."""


@pytest.fixture(scope="module", params=(4, 6) if PLAYS_ALL else (4,), ids="tunnel-ipv{}".format)
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_far: MakeFar
) -> Iterator[Bench]:
    """For all tests, which leave it as it was."""
    lab = Lab(tmp_path_factory.mktemp("bench"))
    try:
        yield Bench(lab, make_far, request.param, NETWORKS)
    finally:
        lab.close()


def test_reserved_bits(bench: Bench) -> None:
    """RFC 7348 would have them ignored; Linux drops, and so do we."""
    good = frame(TO, FROM, b"as it should be")
    vni_bits = 0xFFFFFF << 8
    cases = [
        Case(bench.made(vxlan(turned=1 << bit) + good), None, "reserved_bits")
        for bit in range(64)
        if not (vni_bits | 0x08 << 56) >> bit & 1
    ]
    assert len(cases) == 39
    bench.check([*cases, Case(bench.made(vxlan() + good), good)])


def test_ecn_decap(bench: Bench) -> None:
    """The inner DSCP stays, whatever the outer one is."""
    cases: list[Case] = []
    for version, (before, becomes) in itertools.product((4, 6), DECAPSULATED.items()):
        for outer, after in becomes.items():
            # Each a flow of its own, or our end would join some to larger packets.
            port = 1000 + len(cases)
            sent = inner(EXPEDITED | before, version, port=port)
            packet = bench.made(vxlan() + sent, tos=0x14 << 2 | outer)
            if after < 0:
                cases.append(Case(packet, None, "ecn_ce"))
            else:
                cases.append(Case(packet, inner(EXPEDITED | after, version, port=port)))
    bench.check(cases)


def test_ecn_decap_behind_a_tag(bench: Bench) -> None:
    """Ours finds the packet behind a VLAN tag; the kernel leaves all as it is."""
    cases = []
    for version in (4, 6):
        unaware, aware, marked = (inner(ecn, version, tagged=True) for ecn in (NOT_ECT, ECT_0, CE))
        cases += [
            Case(bench.made(vxlan() + unaware, tos=CE), unaware, "ecn_ce", LINUX),
            Case(bench.made(vxlan() + aware, tos=CE), aware, at=LINUX, elsewhere=marked),
        ]
    bench.check(cases)


def test_what_is_no_vxlan_for_us(bench: Bench) -> None:
    good = frame(TO, FROM, b"a frame")
    bench.check(
        [
            *(Case(bench.made(vxlan()[:cut]), None, "not_vxlan") for cut in range(8)),
            Case(bench.made(vxlan(flags=0) + good), None, "not_vxlan"),
            Case(bench.made(vxlan() + good, dport=4790), None, "not_vxlan"),
            Case(bench.made(vxlan(vni=5) + good), None, "unknown_vni"),
            Case(bench.made(vxlan(vni=VNI + (1 << 23)) + good), None, "unknown_vni"),
            *(Case(bench.made(vxlan() + good[:cut]), None, "short_frame") for cut in range(14)),
            Case(bench.made(vxlan() + good[:14]), good[:14]),
            Case(bench.made(vxlan() + good[:15]), good[:15]),
        ]
    )


def test_sources_that_nobody_has(bench: Bench) -> None:
    """Whose MAC is no station's, or ours; and tunnel packets from an address of nobody's."""

    def own(end: Far) -> Packet:
        return bench.packet(end, vxlan() + frame(TO, mac_of(end.place, end.tap), b"from you"))

    def from_address(source: str, end: Far) -> Packet:
        return bench.packet(end, vxlan() + frame(TO, FROM, b"from there"), source=source)

    groups = (BROADCAST, "01:00:5e:00:00:01", "33:33:00:00:00:01", "03:c0:de:00:00:03", FLOOD_MAC)
    frames = [frame(TO, group, b"from a group") for group in groups]
    bench.check(
        [
            Case(own, None, "own_mac"),
            *(Case(bench.made(vxlan() + made_by), None, "bad_source_mac") for made_by in frames),
            Case(lambda end: from_address(bench.nowhere, end), None, "source_not_allowed"),
            Case(lambda end: from_address(vtep(end), end), None, "source_not_allowed"),
        ]
    )
    # An end that does not learn does not look at the source, either.
    deaf = [Case(bench.made(vxlan(DEAF) + made_by), made_by) for made_by in frames]
    bench.check(deaf, vni=DEAF)


def test_checksums_and_lengths(bench: Bench) -> None:
    good = frame(TO, FROM, b"in a packet that is odd")
    whole = vxlan() + good
    no_checksum = bench.made(whole, chksum=0)
    # Kernel WireGuard vouches for the checksums of all that it has authenticated.
    wrong = Case(bench.made(whole, chksum=0x1234), good, "bad_checksum", {KERNEL})
    cases = [
        # RFC 768 allows to send none over IPv4, RFC 8200 forbids it over IPv6.
        Case(no_checksum, good) if bench.overlay == 4 else Case(no_checksum, None, "bad_checksum"),
        wrong,
        Case(bench.made(whole, sport=0), good),
        Case(bench.made(whole, len=len(whole) + 8 + 20, chksum=0), None, "inner_malformed"),
    ]

    def last_hop(end: Far) -> Packet:
        packet = bench.packet(end, whole)
        setattr(packet, "ttl" if bench.overlay == 4 else "hlim", 1)
        return packet

    cases.append(Case(last_hop, good))
    if bench.overlay == 4:

        def with_options(end: Far) -> Packet:
            packet = bench.packet(end, whole)
            packet.options = [IPOption(b"\x01\x01\x01\x00")]
            return packet

        cases.append(Case(with_options, good))
    bench.check(cases)


def test_headers_of_tunnel_packets(bench: Bench) -> None:
    """What each end puts round the same frames, field by field."""
    codepoints = [dscp | ecn for dscp in (0, EXPEDITED) for ecn in ENCAPSULATED]
    frames, wanted = [], []
    for version, tagged, tos in itertools.product((4, 6), (False, True), codepoints):
        frames.append(inner(tos, version, tagged=tagged))
        wanted.append(ENCAPSULATED[tos & 3])
    frames.append(frame(TO, FROM, b"no IP at all"))
    wanted.append(NOT_ECT)
    with recording(bench.crafter.place, bench.crafter.name) as arrived:
        for end in bench.ends:
            send_frames(end.place, end.tap, frames)
    packets = [(IP if bench.overlay == 4 else IPv6)(data) for data in arrived]
    for end in bench.ends:
        theirs = [
            packet
            for packet in packets
            if packet.src == vtep(end)
            and UDP in packet
            and bytes(packet[UDP].payload)[8:] in frames
        ]
        assert [bytes(packet[UDP].payload)[8:] for packet in theirs] == frames
        assert [packet.tos if bench.overlay == 4 else packet.tc for packet in theirs] == wanted
        for packet in theirs:
            assert bytes(packet[UDP].payload)[:8] == vxlan()
            assert packet[UDP].dport == VXLAN_PORT
            assert (packet.ttl if bench.overlay == 4 else packet.hlim) == 64
            if bench.overlay == 4:
                assert packet.flags == 0  # Also not DF: what is too large is cut, not lost.
            checksum, packet[UDP].chksum = packet[UDP].chksum, None
            assert checksum == type(packet)(bytes(packet))[UDP].chksum != 0
        # DSCP and ECN make no flow of their own. (Behind a tag they do with the kernel.)
        flows = itertools.groupby(
            zip(theirs, range(len(theirs)), strict=True), lambda at: at[1] // 8
        )
        ports = [{packet[UDP].sport for packet, _ in flow} for _, flow in flows]
        assert len(ports[0]) == len(ports[2]) == 1
        assert len(ports[0] | ports[2] | ports[4]) > 1


def test_congestion_marks_of_the_underlay(bench: Bench) -> None:
    """WireGuard hands the tunnel packet's codepoint on outside; wireguard-go does not."""
    # Each longer than the last, so that none of them leave as one.
    frames = [inner(ecn, 4, payload=bytes(1000 + 50 * ecn)) for ecn in ENCAPSULATED]
    for kind, end in bench.by_kind.items():
        condition = f"udp and greater 1000 and src host {end.id.address[4]}"
        with recording(bench.crafter.place, "eth0", condition) as arrived:
            send_frames(end.place, end.tap, frames)
        wanted = [ENCAPSULATED[ecn] if kind != GO else NOT_ECT for ecn in ENCAPSULATED]
        assert [Ether(data)[IP].tos for data in arrived] == wanted, kind


def test_flood(bench: Bench) -> None:
    """One copy to each other end, also with somebody in the list whom nobody has."""
    speakers = [new_station() for _ in bench.ends]
    for end in bench.ends:
        add_static(end, FLOOD_MAC, bench.nowhere)
    with recordings(bench.ends) as arrived:
        for end, speaker in zip(bench.ends, speakers, strict=True):
            speak(end, speaker, b"broadcast")
            speak(end, speaker, b"unknown", to=TO)
    for end in bench.ends:
        delete(end, FLOOD_MAC, bench.nowhere)
    for number, received in enumerate(arrived):
        others = sorted(speaker for speaker in speakers if speaker != speakers[number])
        for payload in (b"broadcast", b"unknown"):
            copies = [data[6:12].hex(":") for data in received.carrying(payload)]
            assert sorted(copies) == others, (KINDS[number], payload)


def test_unicast(bench: Bench) -> None:
    """To a static entry's owner and to nobody else."""
    neighbours = list(zip(bench.ends, (*bench.ends[1:], bench.ends[0]), strict=True))
    station = new_station()
    for end, owner in neighbours:
        add_static(end, station, vtep(owner))
    with recordings(bench.ends) as arrived:
        for kind, end in bench.by_kind.items():
            speak(end, new_station(), f"to it, from {kind}".encode(), to=station)
    for end, owner in neighbours:
        delete(end, station, vtep(owner))
    for number, received in enumerate(arrived):
        (data,) = received.carrying(b"to it, from")
        assert data[14:].rstrip(b"\0").decode() == f"to it, from {KINDS[number - 1]}"


def test_learning(bench: Bench) -> None:
    """From what arrives; a deleted entry is flooded again, and learned again."""
    for speaker in bench.ends:
        others = [end for end in bench.ends if end is not speaker]
        station = new_station()
        speak(speaker, station)
        for end in others:
            assert_learns(end, station, speaker)
        delete(others[0], station, vtep(speaker))
        assert whereabouts(others[0], station) is None
        speak(others[0], new_station(), to=station)
        assert whereabouts(others[0], station) is None
        speak(speaker, station)
        assert_learns(others[0], station, speaker)


def test_ends_that_do_not_learn(bench: Bench) -> None:
    """They flood for ever."""
    speakers = [new_station() for _ in bench.ends]
    devices = [bench.device(end, DEAF) for end in bench.ends]
    with recordings(bench.ends, devices) as arrived:
        for end, device, speaker in zip(bench.ends, devices, speakers, strict=True):
            speak(end, speaker, b"to all", device=device)
        for number, (end, device) in enumerate(zip(bench.ends, devices, strict=True)):
            speak(end, speakers[number], b"to one", to=speakers[number - 1], device=device)
    for number, received in enumerate(arrived):
        assert len(received.carrying(b"to all")) == 3
        assert len(received.carrying(b"to one")) == 3, KINDS[number]
    for end, device in zip(bench.ends, devices, strict=True):
        for speaker in speakers:
            # A bridge of ours does not learn on its own ports, either.
            assert whereabouts(end, speaker, vni=DEAF, device=device) is None


def test_learning_toggled(bench: Bench) -> None:
    """At the kernel's ends, while all runs; whom they flood to stays."""
    for end, speaker in itertools.product(bench.linux, bench.ours):
        station = new_station()
        flooded = [row["dst"] for row in end.fdb() if row["mac"] == FLOOD_MAC]
        end.place.ip("link", "set", end.tap, "type", "vxlan", "nolearning")
        with recordings([end]) as (arrived,):
            speak(speaker, station, b"unheard")
        end.place.ip("link", "set", end.tap, "type", "vxlan", "learning")
        assert len(arrived.carrying(b"unheard")) == 1
        assert whereabouts(end, station) is None
        speak(speaker, station)
        assert_learns(end, station, speaker)
        assert [row["dst"] for row in end.fdb() if row["mac"] == FLOOD_MAC] == flooded


def test_two_networks_over_one_tunnel(bench: Bench) -> None:
    """The same MAC in both: at one end here, at another there, and each moves for itself."""
    station = new_station()
    asker, *homes = bench.ends
    for here, there in itertools.pairwise((*homes, homes[0])):
        speak(here, station)
        speak(there, station, device=bench.device(there, SECOND))
        # What the others know of one, the other has not changed.
        for end in bench.ends:
            if end is not here:
                assert_learns(end, station, here)
            if end is not there:
                device = bench.device(end, SECOND)
                assert_learns(end, station, there, vni=SECOND, device=device)
    ways = [(end, device) for end in (here, there) for device in (end.tap, f"vx{SECOND}")]
    with recordings([end for end, _ in ways], [device for _, device in ways]) as arrived:
        speak(asker, new_station(), b"to it", to=station)
        speak(asker, new_station(), b"to it", to=station, device=bench.device(asker, SECOND))
    assert [len(received.carrying(b"to it")) for received in arrived] == [1, 0, 0, 1]


def test_ageing(bench: Bench) -> None:
    """Who is silent is forgotten, although spoken to; who is not, is not."""
    silent = {new_station(): end for end in bench.ends}
    lively, home = new_station(), bench.ours[0]

    def known(end: Far) -> set[str]:
        return bench.known(end, FORGETFUL).keys() & silent.keys()

    def say_something() -> None:
        for to in (BROADCAST, *silent):
            speak(home, lively, to=to, device=bench.device(home, FORGETFUL))

    for station, end in silent.items():
        speak(end, station, device=bench.device(end, FORGETFUL))
    began = time.monotonic()
    for end in bench.ends:
        assert {mac for mac in silent if silent[mac] is not end} <= known(end)
    remembering = {*bench.ends}
    while remembering:
        say_something()
        for end in list(remembering):
            passed = time.monotonic() - began
            # Ours are gone to the second, the kernel's when it collects, which may wait for work.
            assert passed < AGEING + (5 if end in bench.ours else COLLECTING + 15), end.name
            remembering -= set() if known(end) else {end}
            if end is not home:
                assert bench.known(end, FORGETFUL)[lively] == vtep(home)

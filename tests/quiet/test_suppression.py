"""Who is behind a VTEP is answered for; everything else goes on as ever."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataplane.rig import PORT, US, VNI, mac
from tests.quiet.site import SECOND_PORT, Site
from tests.support.dataplanes import DataPlaneClass
from tests.vxlan.packets import address, ethernet, ipv6, mutated, naive_checksum, pseudo_header
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.quiet.feature import Surroundings
from wgvx.quiet.neighbours import Neighbours
from wgvx.quiet.suppression import Suppression
from wgvx.vxlan.ethernet import BROADCAST
from wgvx.vxlan.fdb import Local, Remote
from wgvx.vxlan.vtep import Forwarding

THERE = 9
"""The station behind VTEP 2."""
HERE = US
ELSEWHERE = 7

FLOODED = [2, 3]


def ip4(number: int) -> bytes:
    return address(f"192.168.7.{number}")


def ip6(number: int) -> bytes:
    return address(f"fe80::{number:x}")


def arp(
    operation: int,
    sender: int,
    target: int,
    *,
    destination: bytes = BROADCAST,
    sender_ip: bytes | None = None,
    source: bytes | None = None,
    says: bytes | None = None,
) -> bytes:
    """``source`` is the frame's, ``says`` the message's, both the sender's unless told."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    body += (says or mac(sender)) + (ip4(sender) if sender_ip is None else sender_ip)
    body += bytes(6) + ip4(target)
    return ethernet(body, 0x0806, destination=destination, source=source or mac(sender))


def request(sender: int, target: int, **more: bytes) -> bytes:
    return arp(1, sender, target, **more)


def reply(sender: int, target: int, **more: bytes) -> bytes:
    return arp(2, sender, target, **{"destination": mac(target), **more})


def icmp6(
    kind: int,
    body: bytes,
    source: bytes,
    destination: bytes,
    *,
    frame_source: int,
    frame_destination: bytes,
    hop_limit: int = 255,
    spoilt: bool = False,
) -> bytes:
    message = bytes((kind, 0, 0, 0)) + body
    check = naive_checksum(pseudo_header(source, destination, 58, len(message)) + message)
    message = message[:2] + struct.pack("!H", check ^ spoilt) + message[4:]
    packet = ipv6(
        message, next_header=58, source=source, destination=destination, hop_limit=hop_limit
    )
    return ethernet(packet, 0x86DD, destination=frame_destination, source=mac(frame_source))


def group_of(number: int) -> tuple[bytes, bytes]:
    """The solicited node's: address and MAC."""
    tail = ip6(number)[13:]
    return address("ff02::1:ff00:0")[:13] + tail, b"\x33\x33\xff" + tail


def solicitation(
    sender: int,
    target: int,
    *,
    source: bytes | None = None,
    options: bytes | None = None,
    to: tuple[bytes, bytes] | None = None,
    **more: Any,
) -> bytes:
    group, group_mac = to or group_of(target)
    with_option = b"\x01\x01" + mac(sender) if options is None else options
    return icmp6(
        135,
        bytes(4) + ip6(target) + with_option,
        ip6(sender) if source is None else source,
        group,
        frame_source=sender,
        frame_destination=group_mac,
        **more,
    )


def advertisement(
    sender: int, to: int, flags: int = 0x60, *, options: bytes | None = None, **more: Any
) -> bytes:
    with_option = b"\x02\x01" + mac(sender) if options is None else options
    return icmp6(
        136,
        bytes((flags, 0, 0, 0)) + ip6(sender) + with_option,
        ip6(sender),
        ip6(to),
        frame_source=sender,
        frame_destination=mac(to),
        **more,
    )


@pytest.fixture
def site(dataplane_class: DataPlaneClass) -> Site:
    """Both stations are known, as they are once they have spoken with each other."""
    site = Site(dataplane_class, Suppression)
    assert site.enters(request(HERE, THERE))[1] == FLOODED
    site.arrives(reply(THERE, HERE))
    assert site.enters(solicitation(HERE, THERE))[1] == FLOODED
    site.arrives(advertisement(THERE, HERE))
    return site


def test_a_request_for_a_station_behind_a_vtep_is_answered_where_it_entered(site: Site) -> None:
    frames, vteps = site.enters(request(HERE, THERE))
    answer = reply(THERE, HERE)
    answer = answer[:32] + mac(HERE) + answer[38:]
    assert (frames, vteps) == ({PORT: [answer]}, [])


@pytest.mark.parametrize("flags", [0x00, 0x20, 0x80, 0xA0])
def test_a_solicitation_is_answered_with_what_the_station_said_of_itself(
    site: Site, flags: int
) -> None:
    site.arrives(advertisement(THERE, HERE, 0x40 | flags))
    frames, vteps = site.enters(solicitation(HERE, THERE))
    assert (frames, vteps) == ({PORT: [advertisement(THERE, HERE, 0x40 | flags)]}, [])


def test_an_answer_counts(site: Site) -> None:
    before = site.feature.show(site.now)
    site.enters(request(HERE, THERE))
    assert site.feature.show(site.now) == {**before, "answered": before["answered"] + 1}
    assert before == {"neighbours": 4, "answered": 0}


PASSED: dict[str, Callable[[], bytes]] = {
    "an unknown target": lambda: request(HERE, 77),
    "an unknown IPv6 target": lambda: solicitation(HERE, 77),
    "a probe": lambda: request(HERE, THERE, sender_ip=bytes(4)),
    "an announcement": lambda: request(HERE, HERE),
    "its own address taken": lambda: request(HERE, THERE, sender_ip=ip4(THERE), says=mac(HERE)),
    "duplicate address detection": lambda: solicitation(HERE, THERE, source=bytes(16), options=b""),
    "a sender not heard of": lambda: request(ELSEWHERE, THERE),
    "a sender with another MAC": lambda: request(
        ELSEWHERE, THERE, sender_ip=ip4(HERE), says=mac(ELSEWHERE)
    ),
    "somebody else's MAC": lambda: request(HERE, THERE, says=mac(ELSEWHERE)),
    "no ARP for IPv4": lambda: request(HERE, THERE).replace(
        b"\x08\x00\x06\x04", b"\x86\xdd\x06\x10"
    ),
    "a message cut short": lambda: request(HERE, THERE)[:41],
    "a hop limit of a router": lambda: solicitation(HERE, THERE, hop_limit=254),
    "a wrong checksum": lambda: solicitation(HERE, THERE, spoilt=True),
    "an option of no length": lambda: solicitation(HERE, THERE, options=b"\x01\0" + mac(HERE)),
    "an option cut short": lambda: solicitation(HERE, THERE, options=b"\x01\x02" + mac(HERE)),
    "no address to answer to": lambda: solicitation(HERE, THERE, options=b""),
    "secured": lambda: solicitation(
        HERE, THERE, options=b"\x01\x01" + mac(HERE) + b"\x0e\x01" + bytes(6)
    ),
    "the group of another": lambda: solicitation(HERE, THERE, to=group_of(77)),
}


@pytest.mark.parametrize("what", PASSED)
def test_what_is_not_answered_goes_everywhere(site: Site, what: str) -> None:
    frame = PASSED[what]()
    assert site.enters(frame) == ({SECOND_PORT: [frame]}, FLOODED)


def test_a_unicast_request_goes_to_whom_it_asks(site: Site) -> None:
    assert site.enters(request(HERE, THERE, destination=mac(THERE))) == ({}, [2])
    unicast = (ip6(THERE), mac(THERE))
    assert site.enters(solicitation(HERE, THERE, to=unicast)) == ({}, [2])


def test_a_request_out_of_the_tunnel_goes_to_who_is_here(site: Site) -> None:
    for frame in (request(THERE, HERE), solicitation(THERE, HERE)):
        assert site.arrives(frame) == ({PORT: [frame], SECOND_PORT: [frame]}, [])


def test_a_station_here_is_asked_and_not_answered_for(site: Site) -> None:
    site.enters(request(ELSEWHERE, ELSEWHERE), SECOND_PORT)
    frame = request(HERE, ELSEWHERE)
    assert site.enters(frame) == ({SECOND_PORT: [frame]}, FLOODED)


def test_who_has_not_advertised_himself_is_not_answered_for(
    dataplane_class: DataPlaneClass,
) -> None:
    """He may be a router, and an answer without that flag would end it for who asked."""
    site = Site(dataplane_class, Suppression)
    site.arrives(solicitation(THERE, HERE))
    site.enters(solicitation(HERE, 77))
    assert site.enters(solicitation(HERE, THERE))[1] == FLOODED


def router_advertisement(lifetime: int) -> bytes:
    return icmp6(
        134,
        bytes((64, 0)) + struct.pack("!H", lifetime) + bytes(8) + b"\x01\x01" + mac(THERE),
        ip6(THERE),
        address("ff02::1"),
        frame_source=THERE,
        frame_destination=bytes.fromhex("333300000001"),
    )


@pytest.mark.parametrize(("lifetime", "flags"), [(1800, 0xE0), (0, 0x60)])
def test_who_advertises_routes_is_a_router(site: Site, lifetime: int, flags: int) -> None:
    site.arrives(router_advertisement(lifetime))
    frames, _ = site.enters(solicitation(HERE, THERE))
    assert frames == {PORT: [advertisement(THERE, HERE, flags)]}


def test_a_station_that_falls_silent_is_asked_for_again(site: Site) -> None:
    """However often it was answered for meanwhile."""
    for _ in range(10):
        site.wait(29)
        site.enters(request(HERE, 77))
        assert site.enters(request(HERE, THERE))[1] == []
    site.wait(11)
    assert site.enters(request(HERE, THERE))[1] == FLOODED


def test_who_asks_and_was_long_silent_is_made_known(site: Site) -> None:
    site.wait(299)
    site.arrives(reply(THERE, HERE))
    site.wait(2)
    assert site.enters(request(HERE, THERE))[1] == FLOODED
    assert site.enters(request(HERE, THERE))[1] == []


def test_the_silent_are_forgotten(site: Site) -> None:
    site.wait(320)
    assert site.feature.show(site.now)["neighbours"] == 0
    assert site.feature.next_deadline() is None


def test_where_stations_do_not_age_one_that_is_gone_is_noticed(
    dataplane_class: DataPlaneClass,
) -> None:
    site = Site(dataplane_class, Suppression, ageing=0)
    site.arrives(reply(THERE, HERE))
    site.enters(request(HERE, 77))
    assert site.enters(request(HERE, THERE))[1] == []
    site.wait(301)
    site.enters(request(HERE, 77))
    assert site.enters(request(HERE, THERE))[1] == FLOODED


def test_who_has_an_address_that_moved_is_asked_of_all_at_first(site: Site) -> None:
    site.arrives(request(ELSEWHERE, THERE, sender_ip=ip4(THERE), says=mac(ELSEWHERE)), vtep=3)
    # Another has said that it is his, and may be right or not: so all are asked for a while.
    frame = request(HERE, THERE)
    assert site.enters(frame) == ({SECOND_PORT: [frame]}, FLOODED)
    site.wait(299)
    site.arrives(reply(ELSEWHERE, HERE, sender_ip=ip4(THERE)), vtep=3)
    site.enters(request(HERE, HERE))
    site.wait(2)
    frames, vteps = site.enters(request(HERE, THERE))
    (answer,) = frames[PORT]
    assert (answer[6:12], vteps) == (mac(ELSEWHERE), [])


def test_of_two_stations_with_one_address_nobody_is_answered_for(site: Site) -> None:
    """Who says so more often than the owner, or in another's name, does not stand in for him."""
    for claim in (
        reply(ELSEWHERE, HERE, sender_ip=ip4(THERE)),
        reply(ELSEWHERE, HERE, sender_ip=ip4(THERE), says=mac(5)),
    ):
        site.arrives(reply(THERE, HERE))
        site.arrives(claim, vtep=3)
        site.arrives(claim, vtep=3)
        assert site.enters(request(HERE, THERE))[1] == FLOODED
    stranger = icmp6(
        136,
        bytes((0x60, 0, 0, 0)) + ip6(THERE) + b"\x02\x01" + mac(ELSEWHERE),
        ip6(THERE),
        ip6(HERE),
        frame_source=ELSEWHERE,
        frame_destination=mac(HERE),
    )
    site.arrives(stranger, vtep=3)
    assert site.enters(solicitation(HERE, THERE))[1] == FLOODED


def test_an_address_that_came_here_is_not_answered_for(site: Site) -> None:
    site.enters(request(THERE, THERE), SECOND_PORT)
    frame = request(HERE, THERE)
    assert site.enters(frame) == ({SECOND_PORT: [frame]}, FLOODED)


def test_an_answer_that_does_not_override_does_not(site: Site) -> None:
    stranger = icmp6(
        136,
        bytes((0x40, 0, 0, 0)) + ip6(THERE) + b"\x02\x01" + mac(ELSEWHERE),
        ip6(THERE),
        ip6(HERE),
        frame_source=ELSEWHERE,
        frame_destination=mac(HERE),
    )
    site.arrives(stranger, vtep=3)
    frames, _ = site.enters(solicitation(HERE, THERE))
    assert frames[PORT][0][6:12] == mac(THERE)


def test_an_answer_without_a_mac_keeps_its_sender_known(site: Site) -> None:
    site.wait(200)
    site.arrives(advertisement(THERE, HERE, options=b""))
    site.wait(101)
    site.enters(solicitation(HERE, 77))
    assert site.enters(solicitation(HERE, THERE))[1] == []


def test_a_contradicted_station_is_forgotten(site: Site) -> None:
    site.arrives(request(THERE, 77, says=mac(ELSEWHERE)))
    assert site.enters(request(HERE, THERE))[1] == FLOODED


def test_whoever_was_heard_longest_ago_makes_room() -> None:
    neighbours = Neighbours(2)
    for number in (1, 2, 1, 3):
        neighbours.hear(ip4(number), mac(number), Remote(ip4(200)), number, 0)
    known = [number for number in (1, 2, 3) if neighbours.get(ip4(number), 0) is not None]
    assert (known, len(neighbours)) == ([1, 3], 2)


class _Recorder(ReferenceDataPlane):
    """Notes what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Forwarding] = []

    def send_frame(self, vni: int, to: Forwarding, frame: bytes, now: int) -> None:
        assert (vni, now) == (VNI, 1)
        assert len(frame) >= 42
        self.sent.append(to)


ORIGINALS = [
    request(HERE, THERE),
    reply(THERE, HERE),
    solicitation(HERE, THERE),
    advertisement(THERE, HERE),
    router_advertisement(1800),
]


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(mutated(ORIGINALS), st.sampled_from(ORIGINALS))))
)
def test_whatever_a_frame_holds_nothing_is_raised(frames: list[tuple[bool, bytes]]) -> None:
    bridge = _Recorder()
    feature = Suppression(
        Surroundings(
            vni=VNI,
            bridge=bridge,
            ports={PORT: None},
            ageing=lambda: 0,
            identity=bytes(8),
            random=bytes,
            port_name=str,
            say=lambda _: None,
        )
    )
    answered = 0
    for local, frame in frames:
        if len(frame) >= 14:
            origin = Local(PORT) if local else Remote(ip4(200))
            answered += feature.handle(origin, frame, 1)
    assert bridge.sent == [Forwarding((PORT,), ())] * answered

"""Tunnel packets of a peer for hypothesis to draw, most of them with a frame inside."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from tests.dataplane.mixture import PING, PLAINTEXTS
from tests.dataplane.rig import US, carrying, datagram_of, packet, tunnel, vxlan_header
from tests.dataplane.steps.frames import any_frames, frames
from tests.dataplane.steps.step import families
from tests.vxlan.packets import (
    address,
    fragment_header,
    ipv4,
    ipv6,
    mutated,
    naive_checksum,
    pseudo_header,
)

NETS = [(42, 4789)] * 5 + [(43, 8472)] * 2 + [(46, 4790)] * 2 + [(43, 4789), (44, 4790), (45, 4789)]
EXTENSIONS = [
    (60, b"\x11\0\1\4" + bytes(4)),
    (0, b"\x3c\0\1\4" + bytes(4) + b"\x11\0\1\4" + bytes(4)),
    (43, b"\x11\0\0\0" + bytes(4)),
    (43, b"\x11\0\0\1" + bytes(4)),
    (44, fragment_header(17, 0, False, 7)),
]
STRANGE = {
    4: [address(text) for text in ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255")]
    + [address(text) for text in ("169.254.0.1", "192.0.2.1", "0.0.0.1", "126.255.255.255")],
    6: [address(text) for text in ("::", "::1", "::2", "ff02::1", "fe80::1", "2001:db8::1")],
}


@st.composite
def carried(draw: st.DrawFn, number: int) -> list[bytes]:
    """A frame from a peer, in a tunnel packet that is, now and then, not quite right."""
    family = draw(families)
    more: dict[str, Any] = {"tos" if family == 4 else "traffic_class": draw(st.integers(0, 3))}
    more |= {"ttl" if family == 4 else "hop_limit": draw(st.sampled_from([64, 64, 64, 2, 1]))}
    if family == 4:
        more["options"] = draw(st.sampled_from([b"", b"", b"", b"\x94\4\0\0"]))
    vni, port = draw(st.sampled_from(NETS))
    made = carrying(
        draw(any_frames),
        source=draw(st.sampled_from([number, number, number, 5, US])),
        destination=draw(st.sampled_from([US, US, US, US, 2, 3, 4, 5, 99])),
        family=family,
        vni=vni,
        port=port,
        header=draw(
            st.sampled_from([None] * 9 + [vxlan_header(reserved=1), vxlan_header(flags=0)])
        ),
        **more,
    )
    return [made]


@st.composite
def fragments(draw: st.DrawFn, number: int) -> list[bytes]:
    """One tunnel packet in pieces, of which some are missing, twice there, or out of order."""
    family = draw(families)
    segment = datagram_of(draw(frames()), source=number, family=family)
    cuts = sorted({0, len(segment), *draw(st.lists(st.integers(0, 1000).map(lambda n: n & ~7)))})
    name, ecn = draw(st.integers(0, 2)), draw(st.integers(0, 3))
    pieces = []
    for start, end in pairwise(cuts):
        data, last = segment[start:end], end >= len(segment)
        if family == 4:
            flags = start // 8 | (not last) << 13
            pieces.append(packet(data, source=number, flags=flags, identification=name, tos=ecn))
        else:
            head = fragment_header(17, start, not last, name)
            pieces.append(packet(head + data, 44, source=number, family=6, traffic_class=ecn))
    return draw(st.permutations(pieces)) if draw(st.booleans()) else pieces


@st.composite
def rare(draw: st.DrawFn, number: int) -> list[bytes]:
    """Pings and extension headers."""
    family = draw(families)
    if draw(st.booleans()):
        echo = PING[:4] + draw(st.sampled_from([PING[4:], PING[4:] + bytes(56)]))
        if family == 4:
            return [packet(echo, 1, source=number)]
        ends = tunnel(number, 6), tunnel(US, 6)
        echo = b"\x80\0\0\0" + echo[4:]
        check = naive_checksum(pseudo_header(*ends, 58, len(echo)) + echo)
        return [packet(echo[:2] + check.to_bytes(2, "big") + echo[4:], 58, source=number, family=6)]
    first, headers = draw(st.sampled_from(EXTENSIONS))
    segment = datagram_of(draw(frames()), source=number, family=6)
    return [packet(headers + segment, first, source=number, family=6)]


@st.composite
def strange(draw: st.DrawFn, number: int) -> list[bytes]:
    """From and to addresses that no host has, or not every one."""
    family = draw(families)
    ends = st.sampled_from([*STRANGE[family], tunnel(number, family), tunnel(US, family)])
    return [between(draw(ends), draw(ends))]


def between(source: bytes, destination: bytes) -> bytes:
    """A tunnel packet, of whoever has these addresses."""
    build = ipv4 if len(source) == 4 else ipv6
    return build(bytes(20), source=source, destination=destination)


@lru_cache
def tunnel_packets(number: int) -> st.SearchStrategy[list[bytes]]:
    """Plaintexts of a peer."""
    known = PLAINTEXTS[number] if number in PLAINTEXTS else PLAINTEXTS[2]
    return st.one_of(
        carried(number),
        carried(number),
        st.sampled_from(known).map(lambda plaintext: [plaintext]),
        mutated([plaintext for plaintext in known if plaintext]).map(lambda changed: [changed]),
        fragments(number),
        rare(number),
        strange(number),
    )

"""Frames for hypothesis to draw: from any station to any, with anything in them."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.dataplane.mixture import FRAMES
from tests.dataplane.rig import US, mac
from tests.dataplane.steps.flows import TYPES, inner_packet, syn
from tests.native.superframes import tcp_segment, udp_datagram
from tests.support.segmenter import TCP, UDP
from tests.vxlan.packets import BROADCAST, ethernet, ipv4, ipv6, mutated
from wgvx.vxlan.watch import ETHERTYPE_PROBE, PROBE_GROUP

STATIONS = [mac(n) for n in (US, 2, 3, 4, 5, 9)]
GROUPS = [
    BROADCAST,
    PROBE_GROUP,
    *map(
        bytes.fromhex,
        (
            "01005e000001",
            "01005e00000d",
            "01005e010203",
            "333300000001",
            "33330000000d",
            "333300010003",
        ),
    ),
]
RESERVED = [bytes.fromhex("0180c2000000"), bytes.fromhex("0180c200000e")]
macs = st.sampled_from([*STATIONS, *GROUPS, *RESERVED, bytes(6)])
sources = st.sampled_from(STATIONS) | st.sampled_from(STATIONS) | macs

INNER: list[tuple[int, bytes]] = [
    (0x88B5, b""),
    (0x88B5, bytes(46)),
    (0x0806, bytes(28)),
    *(
        (TYPES[version], inner_packet(version, protocol, tos, payload, 7))
        for version in (4, 6)
        for protocol in (TCP, UDP)
        for tos, payload in ((0, 0), (1, 1), (2, 100), (3, 1000))
    ),
    (0x0800, ipv4(bytes(30), tos=1, options=b"\1\1\1\1")),
    (0x0800, ipv4(bytes(30), tos=2, flags=0x2000)),
    (0x0800, ipv4(bytes(30), tos=2, flags=0x0007)),
    (0x0800, ipv4(bytes(30), tos=3, total_length=40)),
    (0x0800, ipv4(udp_datagram(bytes(9)), tos=2)),  # Without a checksum.
    (0x0800, ipv4(tcp_segment(bytes(9)), protocol=6)),  # With a wrong one.
    (0x0800, ipv4(bytes(30))[:19]),
    (0x0800, ipv6(bytes(30))),
    (0x86DD, ipv6(bytes(30), traffic_class=2, payload_length=20)),
    (0x86DD, ipv6(b"\x11\0\1\4" + bytes(4) + udp_datagram(bytes(9)), next_header=60)),
    (0x86DD, ipv6(bytes(30))[:39]),
    *(
        (TYPES[version], syn(version, options, payload))
        for version in (4, 6)
        for options, payload in (
            (b"\2\4\5\xb4", b""),
            (b"\1\2\4\5\xb4\0\0\0", b"x"),
            (b"\4\2\2\4\5\xb4\3\3\7\0\0\0", b""),
            (b"\3\0\2\4\5\xb4\0\0", b""),
            (b"\2\4\2\0", b""),
            (b"\0\2\4\5\xb4\0\0\0", b""),
        )
    ),
    (0x0800, ipv4(syn(4, b"\2\4\5\xb4")[20:], protocol=6, options=b"\1\1\1\1")),
    (0x86DD, ipv6(b"\x06\0\1\4" + bytes(4) + syn(6, b"\2\4\5\xb4")[40:], next_header=60)),
    (ETHERTYPE_PROBE, bytes(46)),
    (0x0800, ipv4(bytes(8), protocol=2)),
    (0x0800, ipv4(bytes(8), protocol=103)),
    (0x86DD, ipv6(bytes(8), next_header=103)),
    *((0x86DD, ipv6(bytes([kind]) + bytes(23), next_header=58)) for kind in (128, 132, 135)),
    (0x86DD, ipv6(b"\x3a\0\5\2" + bytes(4) + b"\x8f" + bytes(7), next_header=0)),
    (0x86DD, ipv6(b"\x3a\1" + bytes(14) + b"\x82", next_header=0)),
]
TAGS = [(), (), (), ((0x8100, 7),), ((0x88A8, 1), (0x8100, 2)), ((0x8100, 3),) * 9]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """From any station to any, with anything in it."""
    ethertype, payload = draw(st.sampled_from(INNER))
    payload += draw(st.sampled_from([b"", b"", b"", b"", bytes(7)]))
    made = ethernet(
        payload,
        ethertype,
        destination=draw(macs),
        source=draw(sources),
        tags=draw(st.sampled_from(TAGS)),
    )
    return made[: draw(st.sampled_from([*[len(made)] * 9, 13, 15]))]


any_frames = st.one_of(frames(), frames(), st.sampled_from(FRAMES), mutated(FRAMES[:30]))

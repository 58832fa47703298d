"""Which frames are what a network may want to look at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.packets import ethernet, ipv4, ipv6
from wgvx.vxlan.watch import ETHERTYPE_PROBE, NOTHING, PROBE_GROUP, Watch, kind_of

HOP_BY_HOP = b"\x3a\0\5\2\0\0\1\0"
"""ICMPv6 follows; a router alert."""
PIM_ROUTERS = bytes.fromhex("01005e00000d")
PIM_ROUTERS_6 = bytes.fromhex("33330000000d")


def icmpv6(kind: int) -> bytes:
    return ethernet(ipv6(bytes([kind]) + bytes(23), next_header=58), 0x86DD)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (ethernet(bytes(28), 0x0806), Watch.ARP),
        (ethernet(b"", 0x0806), Watch.ARP),
        (ethernet(ipv4(bytes(8), protocol=2), 0x0800), Watch.GROUPS),
        (ethernet(ipv4(bytes(8), protocol=17), 0x0800), NOTHING),
        (ethernet(ipv4(bytes(8), protocol=2)[:9], 0x0800), NOTHING),
        *((icmpv6(kind), Watch.NEIGHBOURS) for kind in range(133, 138)),
        *((icmpv6(kind), Watch.GROUPS) for kind in (130, 131, 132, 143, 151)),
        (ethernet(ipv4(b"", protocol=103), 0x0800, destination=PIM_ROUTERS), Watch.GROUPS),
        (ethernet(ipv4(b"", protocol=103), 0x0800), NOTHING),
        (ethernet(ipv6(b"?", next_header=103), 0x86DD, destination=PIM_ROUTERS_6), Watch.GROUPS),
        (ethernet(ipv6(b"?", next_header=103), 0x86DD, destination=PIM_ROUTERS), NOTHING),
        *((icmpv6(kind), NOTHING) for kind in (1, 128, 129, 138)),
        (ethernet(ipv6(HOP_BY_HOP + b"\x8f" + bytes(7), next_header=0), 0x86DD), Watch.GROUPS),
        (ethernet(ipv6(HOP_BY_HOP, next_header=0), 0x86DD), NOTHING),
        (ethernet(ipv6(b"\x3a", next_header=0), 0x86DD), NOTHING),
        (ethernet(ipv6(b"\x3a\xff" + bytes(30), next_header=0), 0x86DD), NOTHING),
        (ethernet(ipv6(b"", next_header=58), 0x86DD), NOTHING),
        (ethernet(bytes(28), 0x0806, tags=((0x8100, 7),)), NOTHING),
        (ethernet(b"", ETHERTYPE_PROBE, destination=PROBE_GROUP), Watch.PROBES),
        (ethernet(b"", ETHERTYPE_PROBE, destination=b"\xff" * 6), NOTHING),
        (ethernet(b"", 0x88B5, destination=PROBE_GROUP), NOTHING),
    ],
)
def test_kinds(frame: bytes, kind: Watch) -> None:
    assert kind_of(frame) is kind


@given(st.binary(min_size=14, max_size=120))
def test_any_bytes(frame: bytes) -> None:
    assert kind_of(frame) in (*Watch, NOTHING)

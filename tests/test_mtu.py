"""The MTU arithmetic against figures measured on Linux, and the kernel's view of a route."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx import mtu
from wgvx.route import route_mtu

# Measured exactly full against wireguard-go with Linux's VXLAN device on top.
UNDERLAYS = (9000, 1500, 1420, 1280)
MEASURED = {
    (4, 4): (110, (8890, 1390, 1310, 1170)),
    (4, 6): (130, (8870, 1370, 1290, 1150)),
    (6, 4): (130, (8870, 1370, 1290, 1150)),
    (6, 6): (150, (8850, 1350, 1270, 1130)),
}


@pytest.mark.parametrize(("families", "expected"), MEASURED.items())
def test_the_measured_table(
    families: tuple[int, int], expected: tuple[int, tuple[int, ...]]
) -> None:
    overhead, full = expected
    for underlay, size in zip(UNDERLAYS, full, strict=True):
        result = mtu.breakdown(underlay, *families, vlan=False)
        assert result.mtu == size
        assert sum(taken for _, taken in result.steps) == overhead
        assert mtu.breakdown(underlay, *families, vlan=True).mtu == size - 4


@pytest.mark.parametrize(
    ("underlay", "families"), list(zip((1610, 1630, 1630, 1650), MEASURED, strict=True))
)
def test_the_underlay_for_an_inner_1500(underlay: int, families: tuple[int, int]) -> None:
    assert mtu.breakdown(underlay, *families, vlan=False).mtu == 1500


def test_steps_name_the_headers_from_the_outside_in() -> None:
    result = mtu.breakdown(1500, 6, 4, vlan=True)
    assert result.steps == (
        ("outer IPv6 header", 40),
        ("outer UDP header", 8),
        ("WireGuard header and tag", 32),
        ("tunnel IPv4 header", 20),
        ("tunnel UDP header", 8),
        ("VXLAN header", 8),
        ("inner Ethernet header", 14),
        ("inner VLAN tag", 4),
    )
    assert result.tunnel == 1420


def test_an_mtu_left_out() -> None:
    assert mtu.tunnel_mtu([]) == 1420
    assert mtu.tunnel_mtu([9000, 1500, 1492]) == 1412
    assert mtu.overlay_mtu(1420) == 1350
    assert mtu.tunnel_mtu(iter([1500])) == 1420


def test_an_mtu_left_out_stays_usable_on_the_strangest_route() -> None:
    assert mtu.overlay_mtu(mtu.tunnel_mtu([68])) == mtu.MINIMUM_MTU
    assert mtu.tunnel_mtu([65536]) == mtu.MAXIMUM_TUNNEL_MTU == 65456
    assert mtu.tunnel_mtu([1 << 31]) == mtu.MAXIMUM_TUNNEL_MTU


@given(st.lists(st.integers(218, 65536), min_size=1))
def test_default_mtus_fit_whatever_the_families(routes: list[int]) -> None:
    tunnel = mtu.tunnel_mtu(routes)
    overlay = mtu.overlay_mtu(tunnel)
    for outer, inner in itertools.product((4, 6), repeat=2):
        for route in routes:
            assert tunnel + mtu.outer_overhead(outer) <= route
            assert overlay <= mtu.breakdown(route, outer, inner, vlan=False).mtu
        assert overlay <= mtu.inner_room(tunnel, inner)
        result = mtu.breakdown(min(routes), outer, inner, vlan=False)
        assert result.mtu == mtu.inner_room(result.tunnel, inner)


def test_route_to_the_loopback() -> None:
    expected = int(Path("/sys/class/net/lo/mtu").read_text())
    # IPv4 stops at 65535 whatever the device allows.
    assert route_mtu("127.0.0.1", 51820) == min(expected, 65535)


def test_route_of_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        assert route_mtu("::1", 51820) is None
    else:
        assert route_mtu("::1", 51820) in range(1280, 65537)


@pytest.mark.parametrize(
    "host",
    ["vpn.example.org", "localhost", "", "a\0b", "é" * 70, "300.1.1.1", "fe80::1%no-such-device"],
)
def test_route_to_what_is_no_numeric_address(host: str) -> None:
    assert route_mtu(host, 51820) is None


def test_no_route() -> None:
    # 255.255.255.255 needs SO_BROADCAST, which is never set: the kernel refuses on every host.
    assert route_mtu("255.255.255.255", 51820) is None

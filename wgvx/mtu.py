"""How large a frame may be: the sizes of every header between an inner frame and the wire.

Pure arithmetic. All sizes are bytes; an MTU counts from the IP header on, as Linux does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

IPV4_HEADER = 20
IPV6_HEADER = 40
UDP_HEADER = 8
TCP_HEADER = 20
"""Without options."""
WIREGUARD_OVERHEAD = 32
"""Type, receiver index and counter (16), and the tag (16). Padding adds nothing to a full packet:
it is clamped to the tunnel MTU."""
VXLAN_HEADER = 8
TCP_HEADERS = 52
"""IPv4 and TCP with time stamps: what a segment carries besides payload, most of the time."""
TCP_RESERVE = 320
"""What Linux takes off gso_max_size for headers (MAX_TCP_HEADER), as large as it gets."""
MAXIMUM_SEND = 65507
"""Bytes of one send, in how many datagrams so ever: the largest UDP datagram of IPv4."""
ETHERNET_HEADER = 14
VLAN_TAG = 4

MINIMUM_MTU = 68
"""The least that IPv4, and with it a TAP, can do (RFC 791)."""
IPV6_MINIMUM_MTU = 1280
"""A link below this carries no IPv6 (RFC 8200, section 5)."""
DEFAULT_ROUTE_MTU = 1500

OUTER_OVERHEAD = IPV6_HEADER + UDP_HEADER + WIREGUARD_OVERHEAD
"""80: from the route's MTU to the tunnel's, counted for IPv6 whichever family is used, so that all
ends agree."""
OVERLAY_OVERHEAD = IPV6_HEADER + UDP_HEADER + VXLAN_HEADER + ETHERNET_HEADER
"""70: from the tunnel's MTU to the overlay's, counted for IPv6 for the same reason."""

MINIMUM_TUNNEL_MTU = MINIMUM_MTU + OVERLAY_OVERHEAD
MAXIMUM_TUNNEL_MTU = 65536 - OUTER_OVERHEAD
"""What the largest route there is, the loopback, leaves; either family's UDP can carry it."""
MAXIMUM_OVERLAY_MTU = MAXIMUM_TUNNEL_MTU - OVERLAY_OVERHEAD + IPV6_HEADER - IPV4_HEADER


def ip_header(family: int) -> int:
    """Bytes of the IP header of `family`, 4 or 6."""
    return {4: IPV4_HEADER, 6: IPV6_HEADER}[family]


def outer_overhead(family: int) -> int:
    """Bytes around a full tunnel packet where the hosts speak IP of `family`."""
    return ip_header(family) + UDP_HEADER + WIREGUARD_OVERHEAD


def tunnel_mtu(route_mtus: Iterable[int]) -> int:
    """The tunnel MTU where none is configured: the lowest of the routes' less 80; 1420 without one.

    Held between the least on which an overlay of 68 bytes fits and the most a datagram takes.
    """
    found = min(route_mtus, default=DEFAULT_ROUTE_MTU) - OUTER_OVERHEAD
    return min(max(found, MINIMUM_TUNNEL_MTU), MAXIMUM_TUNNEL_MTU)


def overlay_mtu(tunnel: int) -> int:
    """The overlay MTU where none is configured: `tunnel` less 70, whichever tunnel family."""
    return tunnel - OVERLAY_OVERHEAD


def inner_room(tunnel: int, overlay: int) -> int:
    """The largest untagged inner IP packet that a tunnel packet of `tunnel` bytes carries between
    tunnel addresses of the family `overlay`."""
    return tunnel - ip_header(overlay) - UDP_HEADER - VXLAN_HEADER - ETHERNET_HEADER


def largest_segment(overlay: int, segments: int) -> int:
    """What to set as a TAP's gso_max_size, so that a large TCP segment of an overlay MTU fills one
    send of at most ``segments`` datagrams and never a little more than one.
    """
    datagram = overlay + OVERLAY_OVERHEAD + WIREGUARD_OVERHEAD
    count = min(segments, MAXIMUM_SEND // datagram)
    return max(count * (overlay - TCP_HEADERS), overlay) + TCP_RESERVE


class Breakdown(NamedTuple):
    """The way from an underlay's MTU to the inner IP MTU."""

    steps: tuple[tuple[str, int], ...]
    """What is taken off, and how many bytes, from the outside in."""
    tunnel: int
    """What is left for a tunnel packet, after the outer headers."""
    mtu: int
    """What is left for an inner IP packet. Not positive where the underlay is too small."""


def breakdown(underlay: int, outer: int, overlay: int, vlan: bool) -> Breakdown:
    """The largest inner IP packet that one underlay packet of `underlay` bytes carries.

    `outer` is the family (4 or 6) of the packets between the hosts, `overlay` that of the tunnel
    addresses, `vlan` whether inner frames carry an 802.1Q tag.
    """
    outside: tuple[tuple[str, int], ...] = (
        (f"outer IPv{outer} header", ip_header(outer)),
        ("outer UDP header", UDP_HEADER),
        ("WireGuard header and tag", WIREGUARD_OVERHEAD),
    )
    inside: tuple[tuple[str, int], ...] = (
        (f"tunnel IPv{overlay} header", ip_header(overlay)),
        ("tunnel UDP header", UDP_HEADER),
        ("VXLAN header", VXLAN_HEADER),
        ("inner Ethernet header", ETHERNET_HEADER),
    )
    if vlan:
        inside += (("inner VLAN tag", VLAN_TAG),)
    tunnel = underlay - sum(size for _, size in outside)
    return Breakdown(outside + inside, tunnel, tunnel - sum(size for _, size in inside))

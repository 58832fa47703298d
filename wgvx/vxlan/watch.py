"""Frames that a network may want to look at before they go on: which they are.

The data plane hands them to Python in place of forwarding them (:class:`Watched` in
wgvx/dataplane/interface.py). Twin of native/watch.c.
"""

from __future__ import annotations

from enum import Flag

from wgvx.vxlan.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, HEADER_LENGTH
from wgvx.vxlan.ip import PROTOCOL_ICMPV6, PROTOCOL_IGMP, PROTOCOL_PIM

ETHERTYPE_PROBE = 0x88B6
"""IEEE Std 802 - Local Experimental EtherType 2."""
PROBE_GROUP = b"\x03wgvx\x00"
"""Where loop probes go: a locally administered group, which every bridge floods."""

WATCHED_A_SECOND = 1000
"""Frames of a network handed to Python, and as many probes; what is over goes on as if it were not
watched. Probes count by themselves: they are needed most when a storm takes all the others have."""
WATCHED_BYTES = 256
"""A long frame takes longer to look at: it counts as one more for each so many of its bytes."""
UNHEARD = 260_000_000_000
"""Nanoseconds for which groups go everywhere after a frame of theirs was not looked at: whoever
listens has said so again by then (RFC 3376, section 8.4)."""

_PROTOCOL_HOP_BY_HOP = 0
_IPV4_PROTOCOL = HEADER_LENGTH + 9
_IPV6_NEXT_HEADER = HEADER_LENGTH + 6
_IPV6_PAYLOAD = HEADER_LENGTH + 40

_LISTENER_TYPES = frozenset((130, 131, 132, 143, 151))
"""Multicast Listener Query, Report, Done (RFC 2710) and version 2 Report (RFC 3810), and Multicast
Router Advertisement (RFC 4286)."""
_PIM_ROUTERS = bytes.fromhex("01005e00000d")
_PIM_ROUTERS_IPV6 = bytes.fromhex("33330000000d")
"""Where PIM says what all routers are to hear; it also carries data from router to router."""
_NEIGHBOUR_TYPES = frozenset((133, 134, 135, 136, 137))
"""RFC 4861, sections 4.1 to 4.5."""


class Watch(Flag):
    """Kinds of frames."""

    ARP = 1
    NEIGHBOURS = 2
    """ICMPv6 neighbour discovery."""
    GROUPS = 4
    """IGMP, MLD, and PIM to all its routers."""
    PROBES = 8
    """Loop probes, wgvx's own."""


NOTHING = Watch(0)


def kind_of(frame: bytes) -> Watch:
    """What a ``frame`` of 14 bytes or more is. One behind a VLAN tag is none of these."""
    ethertype = frame[12] << 8 | frame[13]
    if ethertype == ETHERTYPE_ARP:
        return Watch.ARP
    if ethertype == ETHERTYPE_IPV4:
        protocol = frame[_IPV4_PROTOCOL] if len(frame) > _IPV4_PROTOCOL else 0
        is_pim = protocol == PROTOCOL_PIM and frame[:6] == _PIM_ROUTERS
        return Watch.GROUPS if is_pim or protocol == PROTOCOL_IGMP else NOTHING
    if ethertype == ETHERTYPE_IPV6:
        return _kind_of_ipv6(frame)
    if ethertype == ETHERTYPE_PROBE and frame[:6] == PROBE_GROUP:
        return Watch.PROBES
    return NOTHING


def _kind_of_ipv6(frame: bytes) -> Watch:
    """ICMPv6 is looked for behind the fixed header, and behind one of hop-by-hop options."""
    if len(frame) <= _IPV6_PAYLOAD:
        return NOTHING
    protocol, position = frame[_IPV6_NEXT_HEADER], _IPV6_PAYLOAD
    if protocol == PROTOCOL_PIM:
        return Watch.GROUPS if frame[:6] == _PIM_ROUTERS_IPV6 else NOTHING
    if protocol == _PROTOCOL_HOP_BY_HOP and len(frame) > position + 1:
        protocol, position = frame[position], position + 8 + 8 * frame[position + 1]
    if protocol != PROTOCOL_ICMPV6 or position >= len(frame):
        return NOTHING
    if frame[position] in _LISTENER_TYPES:
        return Watch.GROUPS
    return Watch.NEIGHBOURS if frame[position] in _NEIGHBOUR_TYPES else NOTHING

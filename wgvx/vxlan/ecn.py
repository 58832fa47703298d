"""Congestion marks across the tunnel (RFC 6040), as Linux carries them."""

from __future__ import annotations

from wgvx.drops import Drop, Reason
from wgvx.vxlan.ethernet import HEADER_LENGTH, ip_header
from wgvx.vxlan.ip import ECN_CE, ECN_ECT0, ECN_ECT1, ECN_NOT_ECT, ecn_at, with_ecn

_OUTER = (ECN_NOT_ECT, ECN_ECT1, ECN_ECT0, ECN_ECT0)


def encapsulate(inner_ecn: int) -> int:
    """The outer codepoint: the inner one, but CE goes out as ECT(0).

    So a mark seen at the far end was made on the way. RFC 6040's normal mode would copy CE; Linux
    does as RFC 3168's full-functionality mode.
    """
    return _OUTER[inner_ecn]


def decapsulate(outer_ecn: int, frame: bytes) -> bytes:
    """The frame with what its tunnel packet's codepoint told: RFC 6040, figure 4.

    ============  =========  =========  =========  =========
    inner, outer  Not-ECT    ECT(0)     ECT(1)     CE
    ============  =========  =========  =========  =========
    Not-ECT       Not-ECT    Not-ECT    Not-ECT    drop
    ECT(0)        ECT(0)     ECT(0)     ECT(1)     CE
    ECT(1)        ECT(1)     ECT(1)     ECT(1)     CE
    CE            CE         CE         CE         CE
    ============  =========  =========  =========  =========

    Only an inner IPv4 or IPv6 header, VLAN tags before it or not, has a codepoint: any other frame,
    and one too short for its header, passes as it is. Raises ``Drop(ECN_CE)`` for "drop".
    """
    if not outer_ecn & ECN_ECT1 or len(frame) < HEADER_LENGTH:
        return frame  # Not-ECT and ECT(0) outside change nothing
    _, version, position = ip_header(frame)
    if not version:
        return frame
    inner_ecn = ecn_at(frame, position)
    if outer_ecn == ECN_CE:
        if inner_ecn == ECN_NOT_ECT:
            raise Drop(Reason.ECN_CE)
        return frame if inner_ecn == ECN_CE else with_ecn(frame, position, ECN_CE)
    return with_ecn(frame, position, ECN_ECT1) if inner_ecn == ECN_ECT0 else frame

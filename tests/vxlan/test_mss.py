"""TCP's MSS option, lowered and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dataplane.steps.flows import TYPES, syn
from tests.vxlan.packets import ethernet, ipv4, ipv6, mutated
from wgvx.vxlan.ip import complement, partial_sum, pseudo_sum
from wgvx.vxlan.mss import UNCLAMPED, Mss, clamp

MOST = Mss(1310, 1290)
OPTION = b"\2\4\5\xb4"
"""1460."""


def frame(version: int, packet: bytes, *, tags: int = 0) -> bytes:
    return ethernet(packet, TYPES[version], tags=((0x8100, 7),) * tags)


def is_right(version: int, tcp: bytes) -> bool:
    """Whether TCP's checksum is, between the ends of :func:`syn`."""
    packet = syn(version, b"")
    ends = (packet[12:16], packet[16:20]) if version == 4 else (packet[8:24], packet[24:40])
    return complement(partial_sum(tcp) + pseudo_sum(*ends, 6, len(tcp))) == 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tags", [0, 1, 2])
@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b""), (b"\1", b"\0\0\0"), (b"\4\2", b"\3\3"), (b"\1\1\1", b"\0"), (b"\x08\3\0", b"\1")],
)
def test_what_is_larger_is_lowered(version: int, tags: int, before: bytes, after: bytes) -> None:
    if after.endswith(b"\3\3"):
        after += b"\7\0\0\0"
    sent = frame(version, syn(version, before + OPTION + after, b"data"), tags=tags)
    lowered = clamp(sent, MOST)
    at = sent.index(OPTION)
    most = MOST.v4 if version == 4 else MOST.v6
    assert lowered[at : at + 4] == b"\2\4" + most.to_bytes(2, "big")
    tcp = 14 + 4 * tags + (20 if version == 4 else 40)
    assert is_right(version, sent[tcp:])
    assert is_right(version, lowered[tcp:])
    changed = {place for place in range(len(sent)) if sent[place] != lowered[place]}
    assert changed <= {tcp + 16, tcp + 17, at + 2, at + 3}
    assert clamp(lowered, MOST) == lowered
    assert clamp(sent, UNCLAMPED) == sent


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "options",
    [
        b"",
        b"\2\4\2\x18",  # 536
        b"\2\4\5\x0a",  # 1290
        b"\0" + OPTION + bytes(3),  # Behind the end,
        b"\3\0" + OPTION + bytes(2),  # an option of no length,
        b"\3\1" + OPTION + bytes(2),
        b"\3\x0f" + OPTION + bytes(2),  # or one that is longer than all.
        b"\2\3\5\xb4",
        b"\2\5\5\xb4\0\0\0\0",
        b"\1\1\1\2",
        b"\1\1\2\4",
    ],
)
def test_what_is_not_larger_or_no_option_stays(version: int, options: bytes) -> None:
    sent = frame(version, syn(version, options))
    assert clamp(sent, MOST) == sent


def test_what_is_no_whole_syn_stays() -> None:
    whole = syn(4, OPTION)
    tcp = whole[20:]
    for packet in (
        ipv4(tcp, protocol=17),
        ipv4(tcp, protocol=6, flags=0x2000),
        ipv4(tcp, protocol=6, flags=1),
        ipv4(tcp, protocol=6, total_length=43),
        ipv4(tcp, protocol=6, total_length=45),
        whole[:33] + b"\x10" + whole[34:],
        whole[:32] + b"\xf0" + whole[33:],
    ):
        sent = frame(4, packet)
        assert clamp(sent, MOST) == sent
    for cut in range(len(whole)):
        sent = frame(4, whole)[: 14 + cut]
        assert clamp(sent, MOST) == sent


def test_headers_before_tcp_are_passed_over() -> None:
    lowered = MOST.v4.to_bytes(2, "big")
    sent = frame(4, ipv4(syn(4, OPTION)[20:], protocol=6, options=bytes(40)))
    assert clamp(sent, MOST).endswith(b"\2\4" + lowered)
    tcp = syn(6, OPTION)[40:]
    lowered = MOST.v6.to_bytes(2, "big")
    chain = b"\x2b\0\1\4" + bytes(4) + b"\x3c\1\4\0" + bytes(12) + b"\x06\0\1\4" + bytes(4)
    assert clamp(frame(6, ipv6(chain + tcp, next_header=0)), MOST).endswith(b"\2\4" + lowered)
    sent = frame(6, ipv6(b"\x06\0\0\0" + bytes(4) + tcp, next_header=44))
    assert clamp(sent, MOST) == sent


@given(
    mutated([frame(version, syn(version, b"\1" + OPTION + bytes(3))) for version in (4, 6)]),
    st.builds(Mss, st.integers(0, 65535), st.integers(0, 65535)),
)
def test_whatever_comes_keeps_its_length(sent: bytes, most: Mss) -> None:
    assert len(clamp(sent, most)) == len(sent)

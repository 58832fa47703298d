"""Reassembly: each rule by example, and shuffled, lost and doubled fragments against a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vxlan.fragments import DATA, add, piece, refused
from tests.vxlan.packets import A4, A6, B4, B6, address, assert_drop, dropped
from wgvx.drops import Reason
from wgvx.vxlan.ip import IpPacket
from wgvx.vxlan.reassembly import FRAGMENT_OVERHEAD, Reassembler

SECOND = 10**9


# ---- putting together ----


def test_a_whole_packet_passes() -> None:
    packet = IpPacket(A4, B4, 64, 0, 17, DATA, None)
    assert add(Reassembler(), packet) is packet


@pytest.mark.parametrize("source", [A4, A6])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_any_order(source: bytes, order: tuple[int, ...]) -> None:
    pieces = [
        piece(0, DATA[:16], source=source, hop_limit=9),
        piece(16, DATA[16:32], source=source),
        piece(32, DATA[32:], source=source, more=False),
    ]
    reassembler = Reassembler()
    results = [add(reassembler, pieces[index], now) for now, index in enumerate(order)]
    assert results[:2] == [None, None]
    destination = B4 if source == A4 else B6
    assert results[2] == IpPacket(source, destination, 9, 0, 17, DATA, None)
    assert len(reassembler) == reassembler.charge == reassembler.expire(10**12) == 0


def test_datagrams_are_told_apart() -> None:
    reassembler = Reassembler()
    firsts = [
        piece(0, DATA[:8]),
        piece(0, DATA[:8], identification=2),
        piece(0, DATA[:8], source=address("10.254.0.3")),
        piece(0, DATA[:8], protocol=1),  # RFC 791: the protocol too, over IPv4
        piece(0, DATA[:8], source=A6),
    ]
    for first in firsts:
        assert add(reassembler, first) is None
    assert len(reassembler) == 5
    whole = add(reassembler, piece(8, b"!", more=False, identification=2))
    assert whole is not None
    assert whole.payload == DATA[:8] + b"!"
    assert len(reassembler) == 4


def test_owners_never_share_a_datagram() -> None:
    reassembler = Reassembler()
    assert add(reassembler, piece(0, DATA[:8]), owner=1) is None
    assert add(reassembler, piece(8, b"2", more=False), owner=2) is None
    assert len(reassembler) == 2
    for owner, packet in ((1, piece(8, b"1", more=False)), (2, piece(0, DATA[8:16]))):
        whole = add(reassembler, packet, owner=owner)
        assert whole is not None
        assert whole.payload == (DATA[:8] + b"1" if owner == 1 else DATA[8:16] + b"2")


def test_ipv6_goes_by_the_first_fragments_next_header() -> None:
    reassembler = Reassembler()
    add(reassembler, piece(8, b"!", more=False, source=A6, protocol=6))
    whole = add(reassembler, piece(0, DATA[:8], source=A6))
    assert whole is not None
    assert (whole.protocol, whole.payload) == (17, DATA[:8] + b"!")


def test_ipv6_extension_headers_in_the_whole() -> None:
    options = bytes((17, 0, 1, 4, 0, 0, 0, 0))
    reassembler = Reassembler()
    add(reassembler, piece(0, options, source=A6, protocol=60))
    whole = add(reassembler, piece(8, b"!", more=False, source=A6, protocol=60))
    assert whole is not None
    assert (whole.protocol, whole.payload) == (17, b"!")


@pytest.mark.parametrize(
    ("protocol", "begin"),
    [(44, bytes((17, 0, 0, 9, 0, 0, 0, 1))), (0, bytes(8)), (43, bytes((17, 0, 0, 1) + (0,) * 4))],
)
def test_ipv6_extension_headers_that_are_wrong_in_the_whole(protocol: int, begin: bytes) -> None:
    reassembler = Reassembler()
    add(reassembler, piece(0, begin, source=A6, protocol=protocol))
    last = piece(8, b"!", more=False, source=A6)
    assert_drop(Reason.INNER_MALFORMED, reassembler.add, last, 0, 1)
    assert (len(reassembler), reassembler.expire(0)) == (0, 1)


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ((0, 0), 0),
        ((1, 1), 1),
        ((2, 2), 2),
        ((3, 3), 3),
        ((2, 3), 3),
        ((3, 1), 3),
        ((1, 2), 1),
        ((2, 1), 2),
    ],
)
def test_ecn_of_the_whole(marks: tuple[int, int], expected: int) -> None:
    reassembler = Reassembler()
    add(reassembler, piece(0, DATA[:8], ecn=marks[0]))
    whole = add(reassembler, piece(8, b"!", more=False, ecn=marks[1]))
    assert whole is not None
    assert whole.ecn == expected


@pytest.mark.parametrize("marks", [(0, 3), (3, 0), (0, 1), (2, 0)])
def test_ecn_capable_and_not_are_not_mixed(marks: tuple[int, int]) -> None:
    reassembler = Reassembler()
    add(reassembler, piece(0, DATA[:8], ecn=marks[0]))
    refused(reassembler, piece(8, b"!", more=False, ecn=marks[1]))
    assert (len(reassembler), reassembler.expire(0)) == (0, 1)


# ---- refusing ----


def test_an_exact_duplicate_is_refused_alone() -> None:
    reassembler = Reassembler()
    add(reassembler, piece(8, DATA[8:16], more=False))
    refused(reassembler, piece(8, DATA[8:16], more=False))
    whole = add(reassembler, piece(0, DATA[:8]))
    assert whole is not None
    assert whole.payload == DATA[:16]
    assert reassembler.expire(0) == 0


@pytest.mark.parametrize(
    "bad",
    [
        piece(16, DATA[16:32][::-1]),  # the same place, other bytes
        piece(16, DATA[16:24]),  # within the one held
        piece(24, DATA[24:32]),
        piece(8, DATA[8:24]),  # into it from before
        piece(24, DATA[:16]),  # and from behind
        piece(0, DATA),  # over it
        piece(16, DATA[16:32], more=False),  # the same bytes, said to be the last
        piece(8, DATA[8:16], more=False),  # an end before what is held
        piece(40, b"", more=False),  # empty
        piece(40, b""),
        piece(40, DATA[:7]),  # not the last and no multiple of 8
        piece(65528, DATA[:8]),  # 65,536 bytes with the header
        piece(65512, DATA[:4], more=False),
    ],
)
def test_what_makes_a_datagram_forgotten(bad: IpPacket) -> None:
    reassembler = Reassembler()
    add(reassembler, piece(16, DATA[16:32]))
    add(reassembler, piece(0, DATA[:8], identification=2))
    refused(reassembler, bad)
    assert len(reassembler) == 1
    assert reassembler.charge == 8 + FRAGMENT_OVERHEAD
    assert reassembler.expire(0) == 1
    assert reassembler.expire(0) == 0


@pytest.mark.parametrize(
    "bad",
    [
        piece(24, DATA[:8]),  # beyond the end
        piece(24, DATA[:8], more=False),  # another end
        piece(8, DATA[8:16], more=False),
        piece(16, DATA[16:24]),  # the last one's bytes, said not to be the last
    ],
)
def test_the_end_does_not_move(bad: IpPacket) -> None:
    reassembler = Reassembler()
    add(reassembler, piece(16, DATA[16:24], more=False))
    refused(reassembler, bad)
    assert len(reassembler) == 0


@pytest.mark.parametrize(("source", "most"), [(A4, 65515), (A6, 65535)])
def test_the_largest(source: bytes, most: int) -> None:
    reassembler = Reassembler()
    split = most - most % 8
    add(reassembler, piece(0, bytes(split), source=source))
    whole = add(reassembler, piece(split, bytes(most - split), source=source, more=False))
    assert whole is not None
    assert len(whole.payload) == most
    refused(reassembler, piece(split, bytes(most - split + 1), source=source, more=False))


# ---- time ----


def test_time_runs_from_the_first_fragment() -> None:
    reassembler = Reassembler(timeout=15 * SECOND)
    add(reassembler, piece(0, DATA[:8]))
    add(reassembler, piece(8, DATA[8:16]), 14 * SECOND)
    assert reassembler.expire(15 * SECOND - 1) == 0
    assert reassembler.expire(15 * SECOND) == 2
    assert (len(reassembler), reassembler.charge) == (0, 0)


def test_a_late_fragment_completes_nothing() -> None:
    reassembler = Reassembler()
    add(reassembler, piece(0, DATA[:8]))
    assert add(reassembler, piece(8, b"!", more=False), 15 * SECOND) is None
    assert reassembler.expire(15 * SECOND) == 1


# ---- against a model ----


@st.composite
def traffic(draw: st.DrawFn) -> tuple[dict[int, bytes], list[IpPacket]]:
    """Datagrams by identification, and their fragments shuffled, some lost, some doubled."""
    datagrams: dict[int, bytes] = {}
    packets: list[IpPacket] = []
    for identification in range(draw(st.integers(1, 4))):
        data = draw(st.binary(min_size=9, max_size=200))
        datagrams[identification] = data
        position = 0
        while position < len(data):
            size = 8 * draw(st.integers(1, 10))
            more = position + size < len(data)
            part = data[position : position + size]
            packets.append(piece(position, part, more=more, identification=identification))
            position += size
    copies = st.sampled_from([0, 1, 1, 1, 1, 2])
    packets = [packet for packet in packets for _ in range(draw(copies))]
    return datagrams, draw(st.permutations(packets))


@given(traffic())
def test_delivers_exactly_what_the_model_does(
    example: tuple[dict[int, bytes], list[IpPacket]],
) -> None:
    datagrams, packets = example
    reassembler = Reassembler()
    held: dict[int, set[int]] = {identification: set() for identification in datagrams}
    for packet in packets:
        fragment = packet.fragment
        assert fragment is not None
        data, have = datagrams[fragment.identification], held[fragment.identification]
        duplicate = fragment.offset in have
        have.update(range(fragment.offset, fragment.offset + len(packet.payload)))
        if duplicate:
            refused(reassembler, packet)
            continue
        whole = add(reassembler, packet)
        if len(have) == len(data):
            assert whole is not None
            assert (whole.payload, whole.fragment) == (data, None)
            have.clear()  # a copy that comes later begins anew
        else:
            assert whole is None
    assert len(reassembler) == sum(bool(have) for have in held.values())


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40), st.booleans()), max_size=30))
def test_never_delivers_what_was_not_sent(parts: list[tuple[int, int, bool]]) -> None:
    """Fragments of one datagram, overlapping as they like, all cut from the same bytes."""
    data = bytes(range(200))
    reassembler = Reassembler()
    for start, length, more in parts:
        packet = piece(start * 8, data[start * 8 : start * 8 + length], more=more)

        def receive(packet: IpPacket = packet) -> None:
            whole = add(reassembler, packet)
            if whole is not None:
                assert whole.payload == data[: len(whole.payload)]

        assert dropped(receive) in {None, Reason.FRAGMENT}

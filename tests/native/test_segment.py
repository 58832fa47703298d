"""native/segment.c against the plain segmenter, the checksums' own definition, and the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.native.cutting import begin, cut
from tests.native.kernel import KernelCutter, kernel_cutter
from tests.native.superframes import (
    ACK,
    CHECK_AT,
    SuperFrame,
    content,
    super_frames,
    tag_stacks,
    tcp_segment,
    with_checksum,
    with_word,
)
from tests.support.segmenter import (
    CWR,
    ECN,
    FIN,
    NEEDS_CSUM,
    PSH,
    TCP,
    TCPV4,
    TCPV6,
    UDP,
    UDP_L4,
    ContradictionError,
    VnetHeader,
    segment,
)
from tests.vxlan.packets import A4, B4, ethernet, ipv4, ipv6, naive_checksum, pseudo_header, udp

PLAIN = VnetHeader()


def expected(header: VnetHeader, frame: bytes) -> list[bytes] | None:
    try:
        return segment(header, frame)
    except ContradictionError:
        return None


def payloads(large: SuperFrame, frames: list[bytes]) -> bytes:
    return b"".join(frame[large.head :] for frame in frames)


# ---- what is cut ----


@given(super_frames())
def test_as_the_plain_segmenter(large: SuperFrame) -> None:
    frames = cut(large.header, large.frame)
    assert frames is not None
    assert frames == segment(large.header, large.frame)
    assert payloads(large, frames) == large.frame[large.head :]


@given(super_frames())
def test_every_checksum_is_right(large: SuperFrame) -> None:
    """By their definition, not by how either segmenter derives them."""
    for frame in cut(large.header, large.frame) or ():
        if large.version == 4:
            assert naive_checksum(frame[large.l3 : large.l4][: 4 * (frame[large.l3] & 15)]) == 0
        upper = frame[large.l4 :]
        pseudo = pseudo_header(large.source, large.destination, large.protocol, len(upper))
        assert naive_checksum(pseudo + upper) == 0


@given(super_frames())
def test_where_headers_are(large: SuperFrame) -> None:
    begun = begin(large.header, large.frame)
    assert begun is not None
    segments, _ = begun
    assert (segments.l3, segments.l4, segments.head) == (large.l3, large.l4, large.head)
    payload = len(large.frame) - large.head
    assert segments.count == max(1, -(-payload // large.header.gso_size))
    if segments.count > 1:
        assert segments.gso_size == large.header.gso_size
        assert segments.gso_type == large.header.gso_type & ~ECN
    else:
        assert segments.gso_size == 0


def large_tcp(
    payload: bytes,
    gso_size: int,
    *,
    identification: int = 0,
    seq: int = 1000,
    flags: int = ACK,
    tags: tuple[tuple[int, int], ...] = (),
) -> tuple[VnetHeader, bytes]:
    upper = tcp_segment(payload, seq=seq, flags=flags)
    partial = 0xFFFF - naive_checksum(pseudo_header(A4, B4, TCP, len(upper)))
    packet = ipv4(with_word(upper, 16, partial), protocol=TCP, identification=identification)
    header = VnetHeader(NEEDS_CSUM, TCPV4, 0, gso_size, 34 + 4 * len(tags), 16)
    return header, ethernet(packet, tags=tags)


def test_counts_wrap_around() -> None:
    header, frame = large_tcp(content(300), 100, identification=0xFFFF, seq=2**32 - 150)
    frames = cut(header, frame)
    assert frames is not None
    assert [frame[18:20].hex() for frame in frames] == ["ffff", "0000", "0001"]
    assert [int.from_bytes(frame[38:42], "big") for frame in frames] == [
        2**32 - 150,
        2**32 - 50,
        50,
    ]


def test_flags() -> None:
    header, frame = large_tcp(content(250), 100, flags=ACK | FIN | PSH | CWR)
    frames = cut(header._replace(gso_type=TCPV4 | ECN), frame)
    assert frames is not None
    assert [frame[47] for frame in frames] == [ACK | CWR, ACK, ACK | FIN | PSH]


def test_the_largest() -> None:
    """65535 bytes of IP behind two tags, in pieces of every kind of length."""
    tags = ((0x88A8, 5), (0x8100, 7))
    for gso_size in (1338, 9000, 1, 40000, 65494, 65495):
        header, frame = large_tcp(content(65535 - 40), gso_size, tags=tags)
        assert len(frame) == 65535 + 14 + 8
        frames = cut(header, frame)
        assert frames is not None
        assert len(frames) == -(-65495 // gso_size)
        assert b"".join(frame[62:] for frame in frames) == frame[62:]
        if gso_size > 1:
            assert frames == segment(header, frame)


def test_a_udp_checksum_of_0_is_written_as_ffff() -> None:
    """And that of TCP is not, as in the kernel."""
    for protocol in (TCP, UDP):
        seen = 0
        for number in range(65536):
            upper = (
                tcp_segment(number.to_bytes(2, "big"))
                if protocol == TCP
                else udp(number.to_bytes(2, "big"), A4, B4)
            )
            check = with_checksum(upper, protocol, 4)[CHECK_AT[protocol] :][:2]
            if check != (b"\xff\xff" if protocol == UDP else b"\0\0"):
                continue
            # The first of two pieces is this one.
            large = upper + b"\x55"
            if protocol == UDP:
                large = with_word(large, 4, len(large))
            partial = 0xFFFF - naive_checksum(pseudo_header(A4, B4, protocol, len(large)))
            frame = ethernet(ipv4(with_word(large, CHECK_AT[protocol], partial), protocol=protocol))
            gso_type = TCPV4 if protocol == TCP else UDP_L4
            frames = cut(VnetHeader(NEEDS_CSUM, gso_type, 0, 2, 34, CHECK_AT[protocol]), frame)
            assert frames is not None
            assert frames[0][34 + CHECK_AT[protocol] :][:2] == check
            seen += 1
        assert seen >= 1


# ---- whole frames ----


@given(st.binary(max_size=2000), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_plain_frames_are_copied(frame: bytes, start: int, offset: int) -> None:
    """What is not asked for counts for nothing: DATA_VALID says that a checksum was verified."""
    for flags in (0, 2):
        header = VnetHeader(flags, csum_start=start, csum_offset=offset, gso_size=offset)
        assert cut(header, frame) == [frame]


@given(st.integers(0, 200), st.integers(0, 60), st.integers(0, 60))
@example(60, 14, 0)
@example(60, 15, 3)
@example(61, 14, 1)
@example(61, 34, 25)
@example(61, 34, 26)
def test_checksums_are_completed(length: int, start: int, offset: int) -> None:
    """Wherever they are, at odd places too."""
    header = VnetHeader(NEEDS_CSUM, csum_start=start, csum_offset=offset)
    for frame in (content(length), bytes(length), b"\xff" * length):
        assert cut(header, frame) == expected(header, frame)


@given(super_frames())
def test_a_whole_frame_of_tcp_or_udp(large: SuperFrame) -> None:
    header = large.header._replace(gso_type=0, gso_size=0)
    frames = cut(header, large.frame)
    assert frames == segment(header, large.frame)
    begun = begin(header, large.frame)
    assert begun is not None
    assert (begun[0].count, begun[0].l3, begun[0].l4) == (1, large.l3, large.l4)
    assert begun[0].csum_start == large.l4


# ---- what contradicts itself ----


HEADER, FRAME = large_tcp(content(250), 100)


@pytest.mark.parametrize(
    "header",
    [
        HEADER._replace(gso_size=0),
        HEADER._replace(flags=0),
        HEADER._replace(csum_start=33),
        HEADER._replace(csum_start=13),
        HEADER._replace(csum_start=0),
        HEADER._replace(csum_start=len(FRAME)),
        HEADER._replace(csum_start=0xFFFF),
        HEADER._replace(csum_offset=6),
        HEADER._replace(csum_offset=0xFFFF),
        HEADER._replace(gso_type=TCPV6),
        HEADER._replace(gso_type=UDP_L4),
        HEADER._replace(gso_type=UDP_L4 | ECN),
        HEADER._replace(gso_type=ECN),
        HEADER._replace(gso_type=2),
        HEADER._replace(gso_type=3),
    ],
    ids=str,
)
def test_a_header_that_contradicts_the_frame(header: VnetHeader) -> None:
    assert cut(HEADER, FRAME) is not None
    assert cut(header, FRAME) is None


@pytest.mark.parametrize(
    ("position", "word"),
    [
        (12, 0x86DD),
        (12, 0x0806),
        (14, 0x4400),
        (14, 0x4600),
        (14, 0x4F00),
        (14, 0x6500),
        (16, len(FRAME) - 14 + 1),
        (16, len(FRAME) - 14 - 1),
        (16, 0),
        (20, 0x2000),
        (20, 0x0001),
        (22, 0x4011),
        (46, 0x4010),
    ],
)
def test_a_frame_that_contradicts_the_header(position: int, word: int) -> None:
    assert cut(HEADER, with_word(FRAME, position, word)) is None


def test_a_tcp_header_longer_than_the_frame() -> None:
    header, frame = large_tcp(content(10), 5)
    assert cut(header, with_word(frame, 46, 0x7010)) is not None
    assert cut(header, with_word(frame, 46, 0x8010)) is None


@pytest.mark.parametrize(("units", "fits"), [(8000, True), (8182, True), (8183, False)])
def test_very_many_extension_headers(units: int, fits: bool) -> None:
    """As long as the offsets of headers fit into 16 bits."""
    chain = (bytes([60, 0, 1, 4]) + bytes(4)) * (units - 1) + bytes([TCP, 0, 1, 4]) + bytes(4)
    upper = with_word(tcp_segment(content(30)), 16, 0x1234)
    frame = ethernet(ipv6(chain + upper, next_header=60), 0x86DD)
    header = VnetHeader(NEEDS_CSUM, TCPV6, 0, 20, 54 + len(chain), 16)
    frames = cut(header, frame)
    assert frames == expected(header, frame)
    assert (frames is not None) == fits


@given(super_frames(max_payload=300))
def test_cut_short(large: SuperFrame) -> None:
    """Nothing is left of a large frame whose end is missing, wherever it ends."""
    for length in range(len(large.frame)):
        assert cut(large.header, large.frame[:length]) is None


gso_types = st.one_of(
    st.sampled_from((0, TCPV4, TCPV6, UDP_L4, 3, TCPV4 | ECN, UDP_L4 | ECN)), st.integers(0, 255)
)
headers = st.builds(
    VnetHeader,
    flags=st.one_of(st.just(NEEDS_CSUM), st.integers(0, 255)),
    gso_type=gso_types,
    hdr_len=st.integers(0, 0xFFFF),
    gso_size=st.one_of(st.integers(0, 300), st.integers(0, 0xFFFF)),
    csum_start=st.one_of(st.sampled_from((34, 38, 54, 58)), st.integers(0, 0xFFFF)),
    csum_offset=st.one_of(st.sampled_from((6, 16)), st.integers(0, 0xFFFF)),
)


@st.composite
def damaged(draw: st.DrawFn) -> SuperFrame:
    """A few bytes of the headers and a field of the virtio-net header changed."""
    large = draw(super_frames(max_payload=600))
    frame = bytearray(large.frame)
    for _ in range(draw(st.integers(0, 3))):
        frame[draw(st.integers(12, large.head - 1))] = draw(st.integers(0, 255))
    header, other = large.header, draw(headers)
    for field in draw(st.lists(st.sampled_from(VnetHeader._fields), max_size=2)):
        header = header._replace(**{field: getattr(other, field)})
    return replace(large, frame=bytes(frame), header=header)


@given(damaged())
def test_damaged(large: SuperFrame) -> None:
    assert cut(large.header, large.frame) == expected(large.header, large.frame)


@given(headers, tag_stacks, st.sampled_from((0x0800, 0x86DD)), st.binary(max_size=300))
def test_random_bytes(
    header: VnetHeader, tags: tuple[tuple[int, int], ...], ethertype: int, packet: bytes
) -> None:
    for frame in (packet, ethernet(packet, ethertype, tags=tags)):
        assert cut(header, frame) == expected(header, frame)


# ---- the kernel ----


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelCutter]:
    with kernel_cutter(tmp_path_factory.mktemp("kernel")) as cutter:
        yield cutter


@pytest.mark.netns
@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a frame that does not come: slow
@given(super_frames(max_payload=20000))
def test_as_the_kernel(kernel: KernelCutter, large: SuperFrame) -> None:
    """Byte for byte what Linux' own segmentation makes of it."""
    frames = cut(large.header, large.frame)
    assert frames is not None
    # Linux itself drops large frames behind more tags.
    if len(frames) > 1 and large.l3 <= 14 + 4 * 6:
        # The kernel does not believe hdr_len either, but it wants as many bytes to be there.
        header = large.header._replace(hdr_len=large.head)
        assert kernel.cut(header, large.frame, len(frames)) == frames

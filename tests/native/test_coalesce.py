"""native/coalesce.c: cut again, by the plain segmenter or the kernel, all frames are the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native import cutting
from tests.native.kernel import kernel_cutter
from tests.native.parts import build_parts
from tests.native.superframes import (
    ACK,
    CHECK_AT,
    ETHERTYPES,
    addresses,
    content,
    tcp_segment,
    udp_datagram,
    with_checksum,
    with_word,
)
from tests.support.segmenter import (
    CWR,
    FIN,
    NEEDS_CSUM,
    PSH,
    TCP,
    TCPV4,
    TCPV6,
    UDP,
    UDP_L4,
    VnetHeader,
    segment,
)
from tests.vxlan.packets import ethernet, ipv4, ipv6, naive_checksum, pseudo_header

ffi, lib = build_parts(
    "coalesce",
    """
    struct iovec {
        void *iov_base;
        size_t iov_len;
    };
    struct vnet_header {
        uint8_t flags, gso_type;
        uint16_t hdr_len, gso_size, csum_start, csum_offset;
    };
    struct frame {
        uint8_t *data;
        uint32_t length;
        uint16_t l3, l4;
        struct vnet_header header;
    };
    struct coalesced {
        struct vnet_header header;
        uint32_t frames, length;
        bool closed;
        struct iovec parts[...];
        ...;
    };
    void coalesce_begin(struct coalesced *, const struct frame *);
    bool coalesce_add(struct coalesced *, const struct frame *, bool tcp, bool udp,
                      unsigned max_frames);
    int coalesce_finish(struct coalesced *);
    """,
    ["coalesce.c", "checksum.c"],
)

MAX_FRAMES = 128
SIZE = 100
NO_HEADER = VnetHeader()
KINDS = [(version, protocol) for version in (4, 6) for protocol in (TCP, UDP)]
TAGS: list[tuple[tuple[int, int], ...]] = [(), ((0x8100, 5),), ((0x88A8, 1), (0x8100, 2))]


# ---- what a caller does ----


class Given(NamedTuple):
    """A frame to be written. ``l4`` 0: no candidate."""

    data: bytes
    l3: int = 0
    l4: int = 0
    header: VnetHeader = NO_HEADER


class Written(NamedTuple):
    """What one writev gets."""

    header: VnetHeader
    frame: bytes
    joined: int


class Joiner:
    """As a burst's writer: begin, add while it fits, finish."""

    def __init__(self, *, tcp: bool = True, udp: bool = True, max_frames: int = MAX_FRAMES) -> None:
        self.allowed = (tcp, udp, max_frames)
        self.coalesced = ffi.new("struct coalesced *")
        self.written: list[Written] = []
        self._kept: list[Any] = []

    def add(self, given: Given) -> None:
        data = cutting.owned(given.data)
        fields = (data, len(given.data), given.l3, given.l4, tuple(given.header))
        frame = ffi.new("struct frame *", fields)
        self._kept.append(data)
        if self.coalesced.frames:
            closed = self.coalesced.closed
            if lib.coalesce_add(self.coalesced, frame, *self.allowed):
                assert not closed
                return
            self.finish()
        lib.coalesce_begin(self.coalesced, frame)
        assert self.coalesced.frames == 1

    def finish(self) -> None:
        frames, length = self.coalesced.frames, self.coalesced.length
        count = lib.coalesce_finish(self.coalesced)
        parts = [
            bytes(ffi.buffer(part.iov_base, part.iov_len)) for part in self.coalesced.parts[0:count]
        ]
        frame = b"".join(parts[1:])
        assert (count, len(frame)) == (1 + frames, length)
        self.written.append(Written(VnetHeader.unpack(parts[0]), frame, frames))
        self.coalesced.frames = 0


def join(frames: list[Given], **allowed: Any) -> list[Written]:
    joiner = Joiner(**allowed)
    for frame in frames:
        joiner.add(frame)
    if frames:
        joiner.finish()
    return joiner.written


def cut_again(written: list[Written]) -> list[bytes]:
    return [frame for each in written for frame in segment(each.header, each.frame)]


# ---- flows ----


@dataclass(slots=True)
class Flow:
    """The sending side of one TCP connection or UDP socket."""

    version: int = 4
    protocol: int = TCP
    tags: tuple[tuple[int, int], ...] = ()
    options: bytes = b""
    port: int = 40000
    seq: int = 1000
    identification: int = 7
    frames: list[Given] = field(default_factory=list)

    def send(
        self,
        size: int = SIZE,
        *,
        options: bytes | None = None,
        check: int | None = None,
        payload: bytes | None = None,
        tos: int = 0,
        ttl: int = 64,
        **of_tcp: int,
    ) -> Given:
        """The next frame; a wrong checksum is put into it as it is."""
        payload = content(size, self.seq) if payload is None else payload
        ports = (self.port, 5201)
        if self.protocol == TCP:
            options = self.options if options is None else options
            upper = tcp_segment(payload, ports=ports, options=options, seq=self.seq, **of_tcp)
        else:
            upper = udp_datagram(payload, ports)
        upper = with_checksum(upper, self.protocol, self.version)
        if check is not None:
            upper = with_word(upper, CHECK_AT[self.protocol], check)
        if self.version == 4:
            packet = ipv4(
                upper, protocol=self.protocol, identification=self.identification, tos=tos, ttl=ttl
            )
        else:
            packet = ipv6(upper, next_header=self.protocol, traffic_class=tos, hop_limit=ttl)
        self.seq = (self.seq + len(payload)) % 2**32
        self.identification = (self.identification + 1) % 2**16
        data = ethernet(packet, ETHERTYPES[self.version], tags=self.tags)
        l3 = 14 + 4 * len(self.tags)
        made = Given(data, l3, l3 + (20 if self.version == 4 else 40))
        self.frames.append(made)
        return made

    @property
    def head(self) -> int:
        upper = 20 + len(self.options) if self.protocol == TCP else 8
        return 14 + 4 * len(self.tags) + (20 if self.version == 4 else 40) + upper


def zero_check(flow: Flow, written: int) -> None:
    """A frame whose checksum comes out as 0, ``written`` as 0 or as its other form, 0xFFFF."""
    if flow.protocol == TCP:
        upper = tcp_segment(
            bytes(SIZE), ports=(flow.port, 5201), options=flow.options, seq=flow.seq
        )
    else:
        upper = udp_datagram(bytes(SIZE), (flow.port, 5201))
    pseudo = pseudo_header(*addresses(flow.version), flow.protocol, len(upper))
    missing = naive_checksum(pseudo + upper)
    flow.send(payload=bytes(SIZE - 2) + missing.to_bytes(2, "big"), check=written)


SIZES = {"short": SIZE - 1, "tiny": 1, "empty": 0, "long": SIZE + 1}
FIELDS: dict[str, dict[str, Any]] = {
    "push": {"flags": ACK | PSH},
    "fin": {"flags": ACK | FIN},
    "cwr": {"flags": ACK | CWR},
    "no ack": {"flags": 0},
    "ack": {"ack": 2001},
    "window": {"window": 501},
    "urgent": {"urgent": 1},
    "options": {"options": b"\1" * 8},
    "tos": {"tos": 2},
    "ttl": {"ttl": 63},
    "no checksum": {"check": 0},
}
ALONE: dict[str, dict[str, Any]] = {
    "no candidate": {"l3": 0, "l4": 0},
    "offload": {"header": VnetHeader(NEEDS_CSUM, 0, 0, 0, 14, 2)},
}


def send_odd(flow: Flow, what: str) -> None:
    """Send one frame that is not simply the next."""
    if what in SIZES:
        flow.send(SIZES[what])
    elif what in FIELDS:
        flow.send(**FIELDS[what])
    elif what in ALONE:
        flow.send()
        flow.frames[-1] = flow.frames[-1]._replace(**ALONE[what])
    elif what == "gap":
        flow.seq += 1
        flow.send()
    elif what in ("id", "same id"):
        flow.identification = (flow.identification + (1 if what == "id" else -1)) % 2**16
        flow.send()
    else:
        zero_check(flow, {"check 0": 0, "check ffff": 0xFFFF}[what])


# ---- what is joined ----


# Of two frames, the odd one, and two more: how many go together.
GROUPS = {
    "short": [3, 2],
    "tiny": [3, 2],
    "long": [2, 2, 1],
    "empty": [2, 1, 2],
    "tos": [2, 1, 2],
    "ttl": [2, 1, 2],
    "no candidate": [2, 1, 2],
    "offload": [2, 1, 2],
}
TCP_GROUPS = {
    "push": [3, 2],
    "fin": [2, 1, 2],
    "cwr": [2, 1, 2],
    "no ack": [2, 1, 2],
    "ack": [2, 1, 2],
    "window": [2, 1, 2],
    "urgent": [2, 1, 2],
    "options": [2, 1, 2],
    "gap": [2, 3],
    "check 0": [5],
    "check ffff": [2, 1, 2],
}
UDP_GROUPS = {"no checksum": [2, 1, 2], "check ffff": [5]}
ID_GROUPS = {4: {"id": [2, 3], "same id": [2, 3]}, 6: {"id": [5], "same id": [5]}}
TABLES = {
    (version, protocol): GROUPS
    | (TCP_GROUPS if protocol == TCP else UDP_GROUPS)
    | ID_GROUPS[version]
    for version, protocol in KINDS
}


@pytest.mark.parametrize(
    ("kind", "what"), [(kind, what) for kind, table in TABLES.items() for what in table]
)
def test_what_is_joined(kind: tuple[int, int], what: str) -> None:
    flow = Flow(*kind)
    flow.send()
    flow.send()
    send_odd(flow, what)
    flow.send()
    flow.send()
    written = join(flow.frames)
    assert [each.joined for each in written] == TABLES[kind][what]
    assert cut_again(written) == each_alone(flow.frames)


def each_alone(frames: list[Given]) -> list[bytes]:
    """What the kernel has to make of them, joined or not."""
    return [made for frame in frames for made in segment(frame.header, frame.data)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tags", TAGS)
@pytest.mark.parametrize("options", [b"", b"\1\1\x08\x0a" + bytes(8)])
@pytest.mark.parametrize("last", [SIZE, 77])
def test_a_clean_flow_becomes_one(
    kind: tuple[int, int], tags: tuple[tuple[int, int], ...], options: bytes, last: int
) -> None:
    version, protocol = kind
    flow = Flow(version, protocol, tags, options, seq=2**32 - 500, identification=0xFFF0)
    for _ in range(44):
        flow.send()
    flow.send(last)
    (written,) = join(flow.frames)
    assert written.joined == 45
    assert written.header == VnetHeader(
        flags=NEEDS_CSUM,
        gso_type=UDP_L4 if protocol == UDP else TCPV4 if version == 4 else TCPV6,
        hdr_len=flow.head,
        gso_size=SIZE,
        csum_start=flow.frames[0].l4,
        csum_offset=CHECK_AT[protocol],
    )
    assert cut_again([written]) == each_alone(flow.frames)
    assert cutting.cut(written.header, written.frame) == each_alone(flow.frames)


def test_a_push_is_kept() -> None:
    flow = Flow()
    flow.send()
    flow.send(flags=ACK | PSH)
    flow.send()
    first, second = join(flow.frames)
    assert first.frame[47] == ACK | PSH
    assert second.frame == flow.frames[2].data


@pytest.mark.parametrize("kind", KINDS)
def test_one_alone_stays_as_it_was(kind: tuple[int, int]) -> None:
    header = VnetHeader(2, 0, 1, 2, 3, 4)
    frame = Flow(*kind).send()._replace(header=header)
    assert join([frame]) == [Written(header, frame.data, 1)]
    large = VnetHeader(NEEDS_CSUM, TCPV4, 54, 100, 34, 16)
    for alone in (
        Given(b"", header=large),
        Given(b"\xff" * 13),
        Given(content(9000), header=large),
    ):
        assert join([alone, frame, alone]) == [
            Written(each.header, each.data, 1) for each in (alone, frame, alone)
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_other_flows_are_not_mixed_in(kind: tuple[int, int]) -> None:
    """Neither by port nor by tag, protocol, family or MAC."""
    version, protocol = kind
    other_protocol = UDP if protocol == TCP else TCP
    flow = Flow(*kind)
    flow.send()
    others = [
        Flow(*kind, port=40001),
        Flow(*kind, tags=((0x8100, 1),)),
        Flow(version, other_protocol),
        Flow(10 - version, protocol),
    ]
    for other in others:
        other.seq, other.identification = flow.seq, flow.identification
        frames = [flow.frames[0], other.send()]
        assert [each.joined for each in join(frames)] == [1, 1]
    same = flow.send()
    other_mac = same._replace(data=bytes([2, 0, 0, 0, 0, 9]) + same.data[6:])
    assert [each.joined for each in join([flow.frames[0], other_mac])] == [1, 1]
    assert [each.joined for each in join([flow.frames[0], same])] == [2]


def flipped(frame: Given, position: int, bit: int) -> Given:
    data = bytearray(frame.data)
    data[position] ^= 1 << bit
    return frame._replace(data=bytes(data))


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_of_the_headers_counts(kind: tuple[int, int]) -> None:
    """But those of IP's length and of checksums, which somebody has verified, and PSH."""
    version, protocol = kind
    flow = Flow(*kind, tags=((0x8100, 5),), options=b"\1" * 4 if protocol == TCP else b"")
    first, second = flow.send(), flow.send()
    free = {second.l4 + CHECK_AT[protocol], second.l4 + CHECK_AT[protocol] + 1}
    free |= {second.l3 + at for at in ((2, 3, 10, 11) if version == 4 else (4, 5))}
    for position, bit in itertools.product(range(flow.head), range(8)):
        is_push = protocol == TCP and (position, bit) == (second.l4 + 13, 3)
        joined = [each.joined for each in join([first, flipped(second, position, bit)])]
        assert joined == ([2] if position in free or is_push else [1, 1])


def test_a_wrong_data_offset_or_a_reserved_bit_in_all_of_them() -> None:
    flow = Flow()
    frames = [flow.send(), flow.send()]
    assert len(join(frames)) == 1
    for position, bit in ((46, 4), (46, 0), (46, 3)):
        assert len(join([flipped(frame, position, bit) for frame in frames])) == 2


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_an_ipv4_checksum_of_0_in_its_other_form(protocol: int) -> None:
    """0xFFFF is as right, but segmentation would make 0 of it."""
    first = Flow(4, protocol, identification=0).send().data
    # It falls by one with each ID.
    flow = Flow(4, protocol, identification=int.from_bytes(first[24:26], "big") - 2)
    for _ in range(5):
        flow.send()
    third = flow.frames[2]
    assert third.data[24:26] == b"\0\0"
    assert [each.joined for each in join(flow.frames)] == [5]
    flow.frames[2] = third._replace(data=with_word(third.data, 24, 0xFFFF))
    assert [each.joined for each in join(flow.frames)] == [2, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_behind_more_than_two_tags_nothing_is_joined(kind: tuple[int, int]) -> None:
    """Linux drops large frames behind 8, and a few more than two are nobody's."""
    flow = Flow(*kind, tags=((0x8100, 1),) * 3)
    frames = [flow.send(), flow.send()]
    assert [each.joined for each in join(frames)] == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_limits(kind: tuple[int, int]) -> None:
    version, protocol = kind
    flow = Flow(*kind)
    for _ in range(300):
        flow.send(100)
    for most in (128, 1000):
        assert [each.joined for each in join(flow.frames, max_frames=most)] == [128, 128, 44]
    assert [each.joined for each in join(flow.frames, max_frames=64)] == [64, 64, 64, 64, 44]
    assert [each.joined for each in join(flow.frames[:5], max_frames=2)] == [2, 2, 1]
    off = {"tcp" if protocol == TCP else "udp": False}
    assert [each.joined for each in join(flow.frames[:5], **off)] == [1] * 5
    headers = (20 if version == 4 else 40) + (20 if protocol == TCP else 8)
    for too_many, expected in ((0, [66]), (1, [65, 1])):
        flow = Flow(*kind)
        for _ in range(65):
            flow.send(1000)
        flow.send(65535 - headers - 65 * 1000 + too_many)
        written = join(flow.frames)
        assert [each.joined for each in written] == expected
        assert cut_again(written) == each_alone(flow.frames)


# ---- many flows ----


ODD = sorted({*GROUPS, *TCP_GROUPS, *UDP_GROUPS, *ID_GROUPS[4]})


@st.composite
def interleaved(draw: st.DrawFn) -> list[Given]:
    """Runs of frames of a few flows, every kind of odd frame among them."""
    flows = [
        Flow(
            *draw(st.sampled_from(KINDS)),
            tags=draw(st.sampled_from(((), ((0x8100, 1),)))),
            options=draw(st.sampled_from((b"", b"\0" * 8))),
            port=40000 + number,
            seq=draw(st.sampled_from((1000, 2**32 - 300))),
            identification=draw(st.sampled_from((0, 0xFFFE))),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    frames: list[Given] = []
    for _ in range(draw(st.integers(1, 12))):
        flow = draw(st.sampled_from(flows))
        if draw(st.booleans()):
            for _ in range(draw(st.integers(1, 5))):
                frames.append(flow.send())
        else:
            send_odd(flow, _fitting(flow, draw(st.sampled_from(ODD))))
            frames.append(flow.frames[-1])
    return frames


def _fitting(flow: Flow, what: str) -> str:
    """Something else where the flow's protocol has no such thing."""
    return what if what in TABLES[flow.version, flow.protocol] else "short"


@given(interleaved(), st.booleans(), st.booleans(), st.integers(2, 128))
def test_all_come_out_again(frames: list[Given], tcp: bool, udp: bool, max_frames: int) -> None:
    """The very same frames in the very same order, whatever was joined."""
    written = join(frames, tcp=tcp, udp=udp, max_frames=max_frames)
    assert sum(each.joined for each in written) == len(frames)
    assert max(each.joined for each in written) <= max_frames
    assert cut_again(written) == each_alone(frames)


@given(st.lists(st.tuples(st.sampled_from((b"\x45", b"\x60")), st.binary(max_size=90))))
def test_random_bytes_do_no_harm(packets: list[tuple[bytes, bytes]]) -> None:
    """Even if the one who says that they were verified lies."""
    frames = []
    for first, rest in packets:
        data = ethernet(first + rest)
        l4 = 34 if first == b"\x45" else 54
        frames.append(Given(data, 14, l4) if len(data) >= l4 else Given(data))
    written = join(frames)
    assert sum(each.joined for each in written) == len(frames)


@pytest.mark.netns
def test_the_kernel_cuts_them_again(tmp_path: Path) -> None:
    """Every kind of flow, written into a TAP: its segmentation gives back what was joined."""
    with kernel_cutter(tmp_path) as kernel:
        for (version, protocol), tags in itertools.product(KINDS, TAGS):
            flow = Flow(version, protocol, tags, identification=0xFFF0)
            for _ in range(20):
                flow.send()
            flow.send(77, flags=ACK | PSH)
            (written,) = join(flow.frames)
            frames = kernel.cut(written.header, written.frame, len(flow.frames))
            assert frames == [frame.data for frame in flow.frames]

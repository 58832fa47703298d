"""Steps that enter at a port: frames, super-frames, and what claims to be one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

from hypothesis import strategies as st

from tests.dataplane.rig import US, mac
from tests.dataplane.steps.flows import super_frame
from tests.dataplane.steps.frames import any_frames, frames, macs, sources
from tests.dataplane.steps.step import Step, numbers, pick
from tests.dataplane.twins import Twins
from tests.native.superframes import SuperFrame, super_frames
from tests.support.segmenter import NEEDS_CSUM, TCP, UDP, VnetHeader
from tests.vxlan.packets import BROADCAST, mutated


@dataclass(frozen=True)
class Enter:
    """Frames enter on a port, as often as said."""

    port: int
    frames: tuple[bytes, ...]
    times: int = 1

    def run(self, twins: Twins) -> None:
        port = pick(self.port, twins.ports)
        assert port is not None
        twins.transmit(port, list(islice(cycle(self.frames), len(self.frames) * self.times)))


entries = st.builds(
    Enter,
    numbers,
    st.lists(any_frames, min_size=1, max_size=8).map(tuple),
    st.sampled_from([1] * 9 + [20]),
)
overflow = st.builds(Enter, numbers, frames().map(lambda frame: (frame,)), st.just(133))


@dataclass(frozen=True)
class EnterLarge:
    """A super-frame enters on a port, or what claims to be one."""

    port: int
    header: VnetHeader
    frame: bytes

    def run(self, twins: Twins) -> None:
        port = pick(self.port, twins.ports)
        assert port is not None
        twins.transmit_large(port, self.header, self.frame)


@st.composite
def large_entries(draw: st.DrawFn) -> EnterLarge:
    made: SuperFrame = draw(super_frames(max_payload=4000))
    frame = draw(macs) + draw(sources) + made.frame[12:]
    header = made.header
    match draw(st.integers(0, 9)):
        case 0:
            frame = draw(mutated([frame[: made.head + 20]]))
        case 1:
            header = draw(
                st.builds(
                    VnetHeader,
                    st.integers(0, 2),
                    st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84, 0x85]),
                    st.just(0),
                    st.sampled_from([0, 1, 100, 65535]),
                    st.sampled_from([0, 13, 14, made.l4, made.l4 + 1, 65535]),
                    st.sampled_from([0, 6, 16, 65535]),
                )
            )
        case 2:
            header = VnetHeader(NEEDS_CSUM, 0, 0, 0, made.l4, made.header.csum_offset)
        case 3:
            header = VnetHeader()
    return EnterLarge(draw(numbers), header, frame)


@dataclass(frozen=True)
class EnterBulk:
    """Up to 64 KB of one flow at once."""

    port: int
    protocol: int
    size: int
    gso_size: int
    station: bytes
    ecn: int

    def run(self, twins: Twins) -> None:
        large = super_frame(
            self.protocol,
            self.size,
            self.gso_size,
            self.ecn,
            station=self.station,
            source=mac(US),
        )
        EnterLarge(self.port, *large).run(twins)


bulks = st.builds(
    EnterBulk,
    numbers,
    st.sampled_from([TCP, UDP]),
    st.sampled_from([1000, 5000, 30000, 65535 - 40]),
    st.sampled_from([536, 1200, 1316, 1400]),
    st.sampled_from([mac(2), mac(9), BROADCAST]),
    st.integers(0, 3),
)
outgoing: st.SearchStrategy[Step] = st.one_of(entries, entries, large_entries(), bulks, overflow)

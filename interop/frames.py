"""Raw frames in any place, also in a guest: sent by tcpreplay, taken down by tcpdump."""

from __future__ import annotations

import base64
import io
import itertools
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from scapy.utils import PcapWriter, RawPcapReader

from tests.netns.lab import Place, eventually

ROOM = ("-s", "9100", "-B", "16384")
"""tcpdump's, for as many packets as fit 16 MiB at this size each."""
SETTLE = 0.4
"""Seconds for the last frame to arrive, and for tcpdump to write it."""

_numbers = itertools.count(1)


def send_frames(place: Place, interface: str, frames: Iterable[bytes]) -> None:
    """Put frames onto an interface, in order."""
    file = io.BytesIO()
    writer = PcapWriter(file, linktype=1)
    writer.write_header(None)
    for frame in frames:
        writer.write_packet(frame)
    writer.flush()
    name = f"frames-{next(_numbers)}"
    text = base64.b64encode(file.getvalue()).decode()
    place.run("sh", "-c", f"base64 -d >{name}", stdin=text)
    place.run("tcpreplay", "-q", "-i", interface, name)


class Recording:
    """The frames that an interface received, once :func:`recording` is over."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.frames)

    def carrying(self, payload: bytes) -> list[bytes]:
        """Those with these bytes in them."""
        return [frame for frame in self.frames if payload in frame]


@contextmanager
def recording(
    place: Place, interface: str, condition: str = "", *, settle: float = SETTLE
) -> Iterator[Recording]:
    """Take down what comes in on an interface; ``condition`` is a filter of tcpdump's."""
    name = f"recording-{next(_numbers)}"
    tcpdump = place.start(
        *("tcpdump", "-i", interface, "-Q", "in", "-U", "--immediate-mode", *ROOM),
        *("-Z", "root", "-w", name, condition),
        log="tcpdump",
    )
    eventually(lambda: "listening on" in tcpdump.stderr, f"it records: {tcpdump}")
    done = Recording()
    yield done
    time.sleep(settle)
    tcpdump.send_signal(signal.SIGINT)
    tcpdump.wait()
    assert "\n0 packets dropped by kernel" in tcpdump.stderr, tcpdump
    raw = base64.b64decode(place.run("base64", name).stdout)
    file: Any = io.BytesIO(raw)  # scapy's annotation wants a name
    with RawPcapReader(file) as reader:
        done.frames = [data for data, _ in reader]

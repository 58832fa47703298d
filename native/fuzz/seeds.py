"""Writes the seeds of the corpora: ``python native/fuzz/seeds.py``, from the project's root.

What they say is in each target's first lines. Packets are those of the tests, but short.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.dataplane.mixture import PING  # noqa: E402
from tests.dataplane.rig import US, VNI, carrying, datagram_of, frame_to, packet  # noqa: E402
from tests.native.superframes import tcp_segment, udp_datagram  # noqa: E402
from tests.stack import frames  # noqa: E402
from tests.support.segmenter import NEEDS_CSUM, TCPV4, TCPV6, UDP_L4, VnetHeader  # noqa: E402
from tests.vxlan.packets import BROADCAST, ethernet, fragment_header, ipv4, ipv6  # noqa: E402

CORPUS = HERE / "corpus"

# Flags of a record for receive.c.
FIRST, JOINED, MENDED = 0, 16, 32
PACKET, FRAME, RAW, OTHER = 0x00, 0x40, 0x80, 0xC0
# ...and for transmit.c.
LARGE, PLAIN, LONG, CHANGE = 4, 8, 16, 0x80


def record(flags: int, body: bytes) -> bytes:
    return bytes([flags]) + len(body).to_bytes(2, "big") + body


def write(target: str, seeds: dict[str, bytes]) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


TCP4 = ethernet(ipv4(tcp_segment(b"some data"), protocol=6))
TCP6 = ethernet(ipv6(tcp_segment(b"some data", options=b"\1\1\1\0"), next_header=6), 0x86DD)
UDP4 = ethernet(ipv4(udp_datagram(b"some data")), tags=((0x8100, 7),))
UDP6 = ethernet(ipv6(udp_datagram(b"some data")), 0x86DD)
OPTIONS = b"\x11\0\1\4" + bytes(4)
CHAIN = ethernet(ipv6(OPTIONS + udp_datagram(b"some data"), next_header=60), 0x86DD)
INNER = {"tcp4": TCP4, "tcp6": TCP6, "udp4": UDP4, "udp6": UDP6, "chain": CHAIN}


def to_us(frame: bytes, source: int = 2) -> bytes:
    return frame_to(US, source, frame[14:], ethertype=int.from_bytes(frame[12:14], "big"))


def receive() -> dict[str, bytes]:
    segment = datagram_of(frame_to(US, payload=bytes(8)))
    packets = {
        "frame": carrying(frame_to(US, payload=b"")),
        "broadcast": carrying(frame_to(BROADCAST, payload=b"")),
        "frame6": carrying(frame_to(US, payload=b""), family=6, traffic_class=1),
        "options": carrying(frame_to(US, payload=b""), options=b"\x94\4\0\0"),
        "other": carrying(frame_to(US, payload=b""), vni=VNI + 1, port=8472),
        "relayed": carrying(frame_to(3, payload=b""), destination=3),
        "relayed6": carrying(frame_to(3, payload=b""), destination=3, family=6),
        "ping": packet(PING, 1),
        "ping6": packet(PING, 58, family=6),
        "first": packet(segment[:24], flags=0x2000),
        "second": packet(segment[24:], flags=3),
        "first6": packet(fragment_header(17, 0, True, 1) + bytes(8), 44, family=6),
        "extended": packet(OPTIONS + datagram_of(frame_to(US), family=6), 60, family=6),
        "keepalive": b"",
    }
    seeds = {name: b"\1" + record(PACKET | MENDED, data) for name, data in packets.items()}
    for name, frame in INNER.items():
        body = b"\x40" + to_us(frame)
        seeds[f"inner-{name}"] = b"\1" + record(FRAME | 4, body) + record(FRAME | JOINED | 4, body)
    several = (record(PACKET | MENDED | n % 3, data) for n, data in enumerate(packets.values()))
    seeds["several"] = b"\1" + b"".join(several)
    seeds["unsealed"] = b"\0" + record(RAW, b"\4\0\0\0\1\2" + bytes(26))
    seeds["deliver"] = b"\0" + record(OTHER | 16, segment)
    edits = b"".join(record(OTHER, bytes([n, 1, 2])) for n in range(0, 256, 4))
    seeds["edits"] = b"\5" + edits + record(PACKET, packets["frame"]) + edits
    return seeds


def gso(frame: bytes) -> VnetHeader:
    """What is not said here, the target mends."""
    return VnetHeader(NEEDS_CSUM, 0, 0, 4 if len(frame) else 0)


def transmit() -> dict[str, bytes]:
    plain = {
        "unicast": frame_to(2, US, b""),
        "broadcast": frame_to(BROADCAST, US, b""),
        "long": frame_to(BROADCAST, US, bytes(1350)),
        "group": frame_to(b"\1\0\x5e\0\0\1", US, b""),
        "reserved": frame_to(bytes.fromhex("0180c200000e"), US, b""),
        "short": bytes(13),
        **INNER,
    }
    seeds = {name: b"\0" + record(PLAIN, frame) for name, frame in plain.items()}
    for name, frame in INNER.items():
        large = record(LARGE, gso(frame).pack() + frame)
        seeds[f"large-{name}"] = b"\0" + large
        seeds[f"huge-{name}"] = b"\2" + record(
            LARGE | LONG, VnetHeader(NEEDS_CSUM, 0, 0, 1200).pack() + frame
        )
        seeds[f"staged-{name}"] = b"\4" + large + record(CHANGE, b"\1") + record(CHANGE, b"\x19\1")
    frames = b"".join(record(PLAIN | n % 3, frame) for n, frame in enumerate(plain.values()))
    edits = b"".join(record(CHANGE, bytes([n, 0x45, 2])) for n in range(0, 256, 4))
    seeds["several"] = b"\0" + frames + edits + frames
    return seeds


def segment() -> dict[str, bytes]:
    seeds = {f"mended-{n}": b"\1" + gso(frame).pack() + frame for n, frame in INNER.items()}
    types = {"tcp4": TCPV4, "tcp6": TCPV6, "udp4": UDP_L4, "udp6": UDP_L4, "chain": UDP_L4}
    for name, frame in INNER.items():
        l4 = len(frame) - 9 - (8 if types[name] == UDP_L4 else 20 + 4 * (name == "tcp6"))
        offset = 6 if types[name] == UDP_L4 else 16
        header = VnetHeader(NEEDS_CSUM, types[name], l4, 4, l4, offset)
        seeds[f"said-{name}"] = b"\0" + header.pack() + frame
        seeds[f"large-{name}"] = b"\x33" + header._replace(gso_size=500).pack() + frame
        seeds[f"whole-{name}"] = b"\0" + header._replace(gso_type=0).pack() + frame
    return seeds


def coalesce() -> dict[str, bytes]:
    def frames(*each: tuple[int, int, int, int, int]) -> bytes:
        return b"".join(
            bytes([odd, flow, flags]) + size.to_bytes(2, "big") + off.to_bytes(2, "big")
            for odd, flow, flags, size, off in each
        )

    def runs() -> Iterable[tuple[str, bytes]]:
        for flow in (0, 4, 8, 12, 0x40, 0x55):
            yield f"equal-{flow}", frames(*[(0, flow, 0, 100, 0)] * 4)
            yield f"last-{flow}", frames(*[(0, flow, 0, 100, 0)] * 3, (0, flow, 0, 50, 0))
            yield f"pushed-{flow}", frames((0, flow, 0, 9, 0), (0, flow, 0x19, 9, 0))
        for bit in range(8):
            yield f"odd-{bit}", frames(*[(0, 0, 0, 64, 0)] * 2, (1 << bit, 0, 0, 64, 3))
        yield "many", frames(*[(0, 1, 0, 20, 0)] * 140)
        yield "large", frames(*[(0, 1, 0, 1199, 0)] * 60)
        yield "mixed", frames(*[(0, flow, 0, 30, 0) for flow in (0, 1, 0, 8, 8, 4, 4, 12, 12)])

    return {name: b"\0" + data for name, data in runs()}


def handshake() -> dict[str, bytes]:
    def message(flags: int, kind: int, length: int = 4) -> bytes:
        return bytes([flags, length]) + bytes([kind]).ljust(length, b"\0")

    seeds = {}
    for kind, length in ((1, 148), (2, 92), (3, 64)):
        seeds[f"bare-{kind}"] = b"\0" + message(32, kind)
        seeds[f"mac1-{kind}"] = b"\0" + message(36, kind)
        seeds[f"whole-{kind}"] = b"\0" + message(4, kind, length)
        seeds[f"demanded-{kind}"] = (
            b"\0" + message(56, kind) + message(36, kind) + message(44, kind)
        )
        seeds[f"keyless-{kind}"] = b"\x10" + message(36, kind)
        seeds[f"awaited-{kind}"] = b"\0" + message(100, kind) + message(164, kind)
    return seeds


def tables() -> dict[str, bytes]:
    edits = b"".join(bytes([n % 16, n % 4, n % 3, n, n * 7 % 33]) for n in range(40))
    return {
        "prefixes": b"\0" + edits,
        "counters": b"\1" + b"".join(bytes([n % 14, 0, 9, 0, n]) for n in range(20)),
        "stations": b"\2\x11" + edits,
        "few-stations": b"\2\x05" + edits,
        "still-stations": b"\2\0" + edits,
    }


def stream() -> dict[str, bytes]:
    def pieces(data: bytes, size: int) -> bytes:
        cut = (data[at : at + size] for at in range(0, len(data), size))
        return b"\0" + b"".join(len(piece).to_bytes(2, "big") + piece for piece in cut)

    def framed(*frames: bytes) -> bytes:
        return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)

    some = framed(frame_to(2, US, b""), frame_to(BROADCAST, US, b""), b"", bytes(13), TCP4)
    return {
        "whole": pieces(some, 1 << 16),
        "bytes": pieces(some, 1),
        "pieces": pieces(some, 5),
        "large": pieces(framed(frame_to(BROADCAST, US, bytes(3000))) + some, 1000),
        "too-large": pieces(some + bytes([0, 1, 0, 0x17]) + some, 50),
    }


def stack() -> dict[str, bytes]:
    # In stack.c nothing is random: these are the sequence numbers and ports.
    ours, ports = 0x01010102, (50000, 50001, 50002)

    def records(*sent: bytes) -> bytes:
        bodies = [frame[6:] for frame in (*frames.introductions(), *sent)]
        return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)

    syn, ack, fin, rst = frames.SYN, frames.ACK, frames.FIN, frames.RST
    options = bytes.fromhex("020405220103030704020101")
    opened = (
        frames.segment(4, syn, options=options),
        frames.segment(4, ack, seq=2, ack=ours),
    )
    seeds = {f"any-{n}": records(frame) for n, frame in enumerate(frames.templates())}
    for name, flags, seq, data in (
        ("data", ack, 2, b"some data"),
        ("late", ack, 100, b"some data"),
        ("end", ack | fin, 2, b""),
        ("reset", rst, 2, b""),
    ):
        more = frames.segment(4, flags, seq=seq, ack=ours + 5, data=data)
        last = frames.segment(4, ack, seq=2, ack=ours + 5, data=b"some more")
        seeds[f"accepted-{name}"] = records(*opened, more, last)
    far = frames.segment(4, fin | ack, seq=2 + 2**31, ack=ours)
    seeds["accepted-far"] = records(opened[0], far)
    # The first of what is sent after "hello" is missing at the far end, then the second one, too.
    first, size = ours + 5, 1310
    said = []
    for left, right in ((1, 2), (1, 3), (1, 4), (3, 6), (3, 9), (5, 12)):
        blocks = b"".join((first + edge * size).to_bytes(4, "big") for edge in (left, right))
        said.append(frames.segment(4, ack, seq=2, ack=first, options=b"\1\1\5\x0a" + blocks))
    said.append(frames.segment(4, ack, seq=2, ack=first + 2 * size))
    seeds["accepted-losses"] = records(*opened, *said)
    for family in (4, 6):
        for port in ports:
            # A connection that lwIP makes begins with the number before.
            to = {"port": 80, "to": port, "ack": ours - 1}
            answers = (
                frames.segment(family, syn | ack, seq=9, **to),
                frames.segment(family, ack | fin, seq=10, data=b"data", **to),
            )
            seeds[f"made-{family}-{port}"] = records(*answers)
    return seeds


if __name__ == "__main__":
    for make in (receive, transmit, segment, coalesce, handshake, tables, stream, stack):
        write(make.__name__, make())

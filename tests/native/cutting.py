"""native/segment.c, as both its own tests and those of native/coalesce.c call it."""

from __future__ import annotations

import sys
from typing import Any

from tests.native.parts import build_parts
from tests.support.segmenter import VnetHeader
from wgvx.vxlan.ip import partial_sum

ffi, lib = build_parts(
    "segment",
    """
    struct vnet_header {
        uint8_t flags, gso_type;
        uint16_t hdr_len, gso_size, csum_start, csum_offset;
    };
    struct segments {
        const uint8_t *frame;
        uint32_t length, count, next;
        uint16_t gso_size;
        uint8_t gso_type;
        uint16_t l3, l4, head, csum_start, csum_offset;
        ...;
    };
    bool segments_begin(struct segments *, const struct vnet_header *, const uint8_t *frame,
                        size_t length);
    size_t segments_length(const struct segments *);
    uint64_t segments_next(struct segments *, uint8_t *to);
    uint16_t checksum_fold(uint64_t sum);
    """,
    ["segment.c", "checksum.c"],
)

_GUARD = b"\xa5" * 8


def owned(data: bytes) -> Any:
    """A copy of ``data`` with nothing behind it, so that a sanitizer sees each byte too far."""
    buffer = ffi.new("uint8_t[]", max(1, len(data)))
    ffi.memmove(buffer, data, len(data))
    return buffer


def begin(header: VnetHeader, frame: bytes) -> tuple[Any, Any] | None:
    """``struct segments`` and the frame it lives on; None where they contradict each other."""
    segments, buffer = ffi.new("struct segments *"), owned(frame)
    c_header = ffi.new("struct vnet_header *", tuple(header))
    if not lib.segments_begin(segments, c_header, buffer, len(frame)):
        return None
    return segments, buffer


def cut(header: VnetHeader, frame: bytes) -> list[bytes] | None:
    """All frames, each as long as said, of the sum that was returned, and not a byte beyond."""
    begun = begin(header, frame)
    if begun is None:
        return None
    segments, _buffer = begun
    frames = []
    for number in range(segments.count):
        assert segments.next == number
        length = lib.segments_length(segments)
        to = owned(bytes(length) + _GUARD)
        total = int(lib.checksum_fold(lib.segments_next(segments, to)))
        written = bytes(ffi.buffer(to))
        assert written[length:] == _GUARD
        frames.append(written[:length])
        assert int.from_bytes(total.to_bytes(2, sys.byteorder), "big") == partial_sum(frames[-1])
    assert segments.next == segments.count
    return frames

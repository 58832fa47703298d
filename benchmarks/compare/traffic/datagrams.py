"""A program: sends datagrams at a pace, or counts those that arrive.

    datagrams.py send HOST PORT --seconds S [--rate N] (--size BYTES | --messages FILE --length N)
    datagrams.py count HOST PORT --seconds S

sendmmsg and recvmmsg on vectors made beforehand, so that it costs little beside what it measures.
Both print one line of JSON. Started by its path: it imports nothing of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import socket
import time
from pathlib import Path

BATCH = 64
"""Datagrams to a call."""
TICK = 0.0002
"""Seconds between two calls of a paced sender: what is due since the last one goes at once."""
LATE = 0.005
"""A sender held up for longer does not make up for it: that would be a burst, not a pace."""
QUIET = 0.25
"""Seconds without a datagram after which nothing more is on its way."""
SO_RCVBUFFORCE = 33
ROOM = 32 << 20
"""Of the receiver's queue: it is never what loses a datagram."""

libc = ctypes.CDLL(None, use_errno=True)


class IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class MessageHeader(ctypes.Structure):
    """struct msghdr of sendmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(IoVec)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr of sendmmsg(2)."""

    _fields_ = (("header", MessageHeader), ("bytes", ctypes.c_uint32))


class Vector:
    """An array of messages in memory, one after the other or all in the same place."""

    def __init__(self, memory: ctypes.Array[ctypes.c_char], length: int, count: int) -> None:
        room = len(memory) // length
        start = ctypes.addressof(memory)
        self.count = count
        self._memory = memory
        self._parts = (IoVec * count)(
            *(IoVec(start + number % room * length, length) for number in range(count))
        )
        self._messages = (Message * count)()
        for part, message in zip(self._parts, self._messages, strict=True):
            message.header.vectors = ctypes.pointer(part)
            message.header.vector_count = 1

    def at(self, position: int) -> object:
        return ctypes.byref(self._messages, position * ctypes.sizeof(Message))


def send(
    address: tuple[str, int], vector: Vector, rate: float | None, seconds: float
) -> dict[str, float]:
    """Send the messages in turn, over and over: so many a second, or all that can be."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(address)
    sent = skipped = position = 0
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds:
        due = BATCH
        if rate is not None:
            due = int(now * rate) - sent - skipped
            late = due - max(BATCH, int(rate * LATE))
            if late > 0:
                skipped += late
                due -= late
            if due <= 0:
                time.sleep(TICK)
                continue
        count = min(due, BATCH, vector.count - position)
        done = libc.sendmmsg(sender.fileno(), vector.at(position), count, 0)
        # Refused, by a full queue say: these are gone, the next ones have their turn.
        sent += done if done > 0 else 0
        skipped += count - max(done, 0)
        position = (position + count) % vector.count
    elapsed = time.perf_counter() - begin
    return {"sent": sent, "seconds": elapsed}


def count(address: tuple[str, int], seconds: float) -> dict[str, float]:
    """Until nothing comes any more, or the time is over."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
    receiver.bind(address)
    print("ready", flush=True)
    vector = Vector(ctypes.create_string_buffer(2048), 2048, 4 * BATCH)
    arrived, last, end = 0, None, time.perf_counter() + seconds
    while (now := time.perf_counter()) < end and (last is None or now < last + QUIET):
        # Asleep rather than waiting in the call: one wake-up for all of a millisecond.
        time.sleep(0.001)
        done = vector.count
        while done == vector.count:
            done = libc.recvmmsg(
                receiver.fileno(), vector.at(0), vector.count, socket.MSG_DONTWAIT, None
            )
            if done > 0:
                arrived += done
                last = time.perf_counter()
    return {"arrived": arrived}


def exact_timers() -> None:
    """Let this process sleep as short as it asks for."""
    pr_set_timerslack = 29
    with contextlib.suppress(AttributeError):
        libc.prctl(pr_set_timerslack, 1, 0, 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["send", "count"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--messages", type=Path)
    parser.add_argument("--length", type=int)
    args = parser.parse_args()
    exact_timers()
    address = (args.host, args.port)
    if args.what == "count":
        print(json.dumps(count(address, args.seconds)))
        return
    content = args.messages.read_bytes() if args.messages else os.urandom(args.size)
    length = args.length or args.size
    memory = ctypes.create_string_buffer(content, len(content))
    vector = Vector(memory, length, max(BATCH, len(content) // length))
    print(json.dumps(send(address, vector, args.rate, args.seconds)))


if __name__ == "__main__":
    main()

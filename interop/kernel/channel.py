"""The host's end of the control channel: many commands at a time over one byte stream.

agent.c is the other end and says what a message is. A thread reads whatever comes, so the guest
never waits for us; when the stream ends, everyone who waits for something learns of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

HEADER = struct.Struct("<IIB")
RUN_HEADER = struct.Struct("<IIB")
SET_CLOCK, RUN, SIGNAL, ABANDON = b"CRSA"
OUTPUT, ERRORS, EXITED, DONE = b"OEXD"
# From SIGKILL to the end of a command. The guest is slow, and its host may be busy.
KILL_TIMEOUT = 15.0


class Job:
    """A command in the guest: its outputs go to two files, then come two events, in this order."""

    def __init__(self, number: int, stdout: BinaryIO, stderr: BinaryIO) -> None:
        self.number = number
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self.exited = threading.Event()
        """The command has ended, and all that it wrote is in the files."""
        self.done = threading.Event()
        """And what it has started no longer holds its outputs open."""


class Channel:
    """To the agent that listens on a Unix socket. ``epitaph`` says why, once the guest is dead."""

    def __init__(self, path: Path, epitaph: Callable[[], str]) -> None:
        self._epitaph = epitaph
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._clock_is_set = threading.Event()
        self._sending = threading.Lock()
        self.broken = False
        self._socket = _connect(path)
        self._thread = threading.Thread(target=self._read, name=f"channel {path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def set_clock(self, seconds: float, timeout: float) -> None:
        """Set the guest's clock. It answers as soon as it can run commands."""
        self._clock_is_set.clear()
        self._send(SET_CLOCK, 0, struct.pack("<q", int(seconds * 1e9)))
        if not self._clock_is_set.wait(timeout):
            raise AssertionError(f"the guest is silent after {timeout:g} s: {self._epitaph()}")
        self._assert_alive()

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        stdin: bytes | None,
        stdout: BinaryIO,
        stderr: BinaryIO,
    ) -> Job:
        """Start a command."""
        job = Job(next(self._numbers), stdout, stderr)
        self._jobs[job.number] = job
        strings = [str(folder), *command, *(f"{key}={value}" for key, value in env.items())]
        header = RUN_HEADER.pack(len(command), len(env), stdin is not None)
        text = b"".join(os.fsencode(string) + b"\0" for string in strings)
        self._send(RUN, job.number, header + text + (stdin or b""))
        return job

    def signal(self, job: Job, number: int) -> None:
        self._send(SIGNAL, job.number, struct.pack("<i", number))

    def abandon(self, job: Job) -> None:
        """Kill the command and what it has started, and wait for the end."""
        self._send(ABANDON, job.number)
        if not job.done.wait(KILL_TIMEOUT):
            self._jobs.pop(job.number, None)
            raise AssertionError(f"a killed command does not end: {self._epitaph()}")

    def wait(self, event: threading.Event, timeout: float) -> bool:
        """Whether one of a job's events comes in time; a guest that dies meanwhile is an error."""
        came = event.wait(timeout)
        self._assert_alive()
        return came

    def _assert_alive(self) -> None:
        if self.broken:
            raise AssertionError(f"the guest is dead: {self._epitaph()}")

    def _send(self, kind: int, number: int, data: bytes = b"") -> None:
        self._assert_alive()
        try:
            with self._sending:
                self._socket.sendall(HEADER.pack(len(data), number, kind) + data)
        except OSError:
            self._break()
            self._assert_alive()

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as stream:
            while len(header := stream.read(HEADER.size)) == HEADER.size:
                size, number, kind = HEADER.unpack(header)
                self._handle(kind, number, stream.read(size))
        self._break()

    def _handle(self, kind: int, number: int, data: bytes) -> None:
        if kind == SET_CLOCK:
            self._clock_is_set.set()
            return
        job = self._jobs.get(number)
        if job is None:  # given up
            return
        if kind == OUTPUT:
            job.stdout.write(data)
        elif kind == ERRORS:
            job.stderr.write(data)
        elif kind == EXITED:
            (job.returncode,) = struct.unpack("<i", data)
            job.exited.set()
        elif kind == DONE:
            del self._jobs[number]
            job.done.set()

    def _break(self) -> None:
        """Nobody need wait any longer."""
        self.broken = True
        self._clock_is_set.set()
        for job in list(self._jobs.values()):
            job.exited.set()
            job.done.set()


def _connect(path: Path) -> socket.socket:
    """Connect, however long the path is: the kernel takes 107 bytes."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_PATH)
    try:
        stream.connect(f"/proc/self/fd/{folder}/{path.name}")
    except OSError:
        stream.close()
        raise
    finally:
        os.close(folder)
    return stream

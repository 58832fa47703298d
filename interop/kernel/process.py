"""A command in the background of a guest, with the calls of a process of the lab."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from interop.kernel.channel import Channel, Job
from tests.netns.lab import STOP_TIMEOUT, Process


class GuestProcess(Process):
    """Its two outputs are kept in files of the host, which ``job`` writes."""

    def __init__(self, title: str, paths: tuple[Path, Path], job: Job, channel: Channel) -> None:
        self.title = title
        self.stdout_path, self.stderr_path = paths
        self._job = job
        self._channel = channel

    def returncode(self) -> int | None:
        self._channel.wait(self._job.exited, 0)
        return self._job.returncode

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        if not self._channel.wait(self._job.exited, timeout):
            raise AssertionError(f"still running after {timeout:g} s: {self}")
        assert self._job.returncode is not None
        return self._job.returncode

    def send_signal(self, number: signal.Signals) -> None:
        self._channel.signal(self._job, number)

    def end(self) -> None:
        """As every process of the lab; in a guest that is dead there is nothing left to end."""
        with contextlib.suppress(AssertionError):
            if self.returncode() is None:
                self.send_signal(signal.SIGTERM)
                self._channel.wait(self._job.exited, 3)
            if not self._job.done.is_set():
                self._channel.abandon(self._job)
        self._job.stdout.close()
        self._job.stderr.close()

    def family(self) -> list[int]:
        raise NotImplementedError("the guest's processes are not in our /proc")

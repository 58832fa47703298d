"""Show something again and again, until somebody has seen enough: q or Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Protocol

from wgvx.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

INTERVAL = 1.0
"""Seconds between two looks, unless told otherwise."""

PATIENCE = 3.0
"""Seconds that a node has for an answer while somebody watches."""

SHORTEST, LONGEST = 0.1, 3600.0

LEAVING = (b"q", b"Q", b"\x03", b"\x04")


class Lines(Protocol):
    """What is watched line by line."""

    def look(self) -> None:
        """Take it in anew."""

    def in_a_pipe(self) -> None:
        """Print what was taken in."""


class View(Lines, Protocol):
    """What has a screen to itself where there is one."""

    def on_screen(self, height: int) -> RenderableType:
        """What was taken in, in so many lines."""


def seconds(text: str) -> float:
    """The interval, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not SHORTEST <= number <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r}: want seconds from {SHORTEST} to {LONGEST:.0f}, behind NAME"
        )
    return number


def add_option(parser: argparse.ArgumentParser, help_text: str) -> None:
    """`--watch [SECONDS]`."""
    parser.add_argument(
        "--watch",
        nargs="?",
        type=seconds,
        const=INTERVAL,
        metavar="SECONDS",
        help=f"{help_text}, every {INTERVAL:.0f} s or as told, until q or Ctrl-C",
    )


def watch(view: View, interval: float) -> int:
    """Until somebody leaves; the exit status."""
    if not output.on_terminal() or os.environ.get("TERM", "dumb") == "dumb":
        return follow(view, interval)
    with contextlib.suppress(KeyboardInterrupt):
        _on_terminal(view, interval)
    return 0


def follow(lines: Lines, interval: float) -> int:
    """The same line by line, on a terminal, too."""
    with contextlib.suppress(KeyboardInterrupt), _ended_by_signals(), _keys() as keys:
        while True:
            lines.look()
            lines.in_a_pipe()
            due = time.monotonic() + interval
            while time.monotonic() < due:
                if keys.leave(due - time.monotonic()):
                    return 0
    return 0


def _on_terminal(view: View, interval: float) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    with _ended_by_signals(), _keys() as keys, console.screen() as screen:
        due = 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                view.look()
                due = now + interval
            # A resize alone shows what is known already.
            screen.update(view.on_screen(console.height))
            if keys.leave(due - time.monotonic()):
                return


class _Keys:
    def __init__(self, stdin: int | None, woken: int) -> None:
        self._stdin = stdin
        self._woken = woken

    def leave(self, patience: float) -> bool:
        """Whether to leave; False once the time is up or the window has another size."""
        until = time.monotonic() + patience
        while True:
            watched = [self._woken, *([] if self._stdin is None else [self._stdin])]
            ready, _, _ = select.select(watched, [], [], max(0.0, until - time.monotonic()))
            if self._stdin in ready:
                key = os.read(self._stdin, 1)
                if key in LEAVING:
                    return True
                if not key:
                    self._stdin = None  # Nobody types any more.
                continue
            if self._woken in ready:
                os.read(self._woken, 64)
            return False


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
    """Keys as they are pressed, where standard input is a terminal, and changes of its size."""
    typed = output.on_terminal() and sys.stdin is not None and sys.stdin.isatty()
    stdin = sys.stdin.fileno() if typed else None
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    before = termios.tcgetattr(stdin) if stdin is not None else []
    on_resize = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
    previous = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        if stdin is not None:
            tty.setcbreak(stdin)
        yield _Keys(stdin, woken)
    finally:
        signal.set_wakeup_fd(previous)
        signal.signal(signal.SIGWINCH, on_resize)
        if stdin is not None:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        os.close(woken)
        os.close(wake)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Whoever is terminated leaves the terminal as it was, too."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    # nohup(1) has one of them ignored.
    candidates = (signal.SIGTERM, signal.SIGHUP)
    numbers = [n for n in candidates if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, end) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

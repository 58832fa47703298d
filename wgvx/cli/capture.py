"""``wgvx capture``: what passes a running node, as pcapng."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wgvx.cli import output
from wgvx.cli.output import UserError
from wgvx.config import node_name
from wgvx.control.client import ControlError, Stream, find, stream
from wgvx.control.pcapng import Counter

DESCRIPTION = """\
Write what passes a running node as pcapng, live: to a pipe, for Wireshark or tshark, or to a file.
It takes no privilege and no TAP, and ends with Ctrl-C, with its reader, or with the node.

--inner, the default, is the Ethernet frames at the node's attachments, an interface each; what a
TAP hands over large and without a checksum is written so, as tcpdump has it. --outer is the
encrypted datagrams, behind headers like those that they have on the underlay. With --keys the keys
of the handshakes from now on are in it too, and Wireshark decrypts; so that there is something to
decrypt, a handshake is begun with each peer in session. Whoever has the file reads that traffic.

A node never waits for its reader: what he cannot take in time is lost, and counted.
"""

EPILOG = """\
examples:
  wgvx capture a | wireshark -k -i -
  wgvx capture a --vni 4200 | tshark -r - -Y arp
  wgvx capture a --outer --keys --write a.pcapng
  wgvx capture a --count 1000 --snaplen 128 > a.pcapng

exit status: 0 done, 1 no such node is running, or the file cannot be written, 2 bad usage
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "capture",
        help="what passes a running node, for Wireshark",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a running node, or its file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--inner", action="store_true", help="frames at attachments (the default)")
    which.add_argument("--outer", action="store_true", help="datagrams on the underlay")
    parser.add_argument("--keys", action="store_true", help="with --outer: what decrypts them")
    parser.add_argument("--vni", type=int, metavar="N", help="with --inner: one network's frames")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many packets")
    parser.add_argument(
        "--snaplen", type=int, metavar="BYTES", help="the beginning of each packet alone"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="in place of standard output; mode 0600"
    )


def run(args: argparse.Namespace) -> int:
    """Copy from the node to the reader."""
    _check(args)
    counted = Counter()
    try:
        lock = find(node_name(args.name))
        with (
            stream(
                lock,
                "capture",
                outer=args.outer,
                keys=args.keys,
                vni=args.vni,
                count=args.count,
                snaplen=args.snaplen,
            ) as coming,
            _target(args.write, secret=args.keys) as target,
            _ended_by(coming),
        ):
            _copy(coming, target, counted)
    except ControlError as error:
        raise UserError(str(error), error.exit_status) from None
    lost = f", {counted.lost} lost" if counted.lost else ""
    packets = "packet" if counted.packets == 1 else "packets"
    output.told(f"{counted.packets} {packets} written{lost}")
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.keys and not args.outer:
        raise UserError("--keys is for --outer: what is inside is not encrypted", 2)
    if args.vni is not None and args.outer:
        raise UserError("--vni is for --inner: datagrams do not tell their network", 2)
    for name in ("count", "snaplen"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"--{name}: found {value}, want 1 or more", 2)
    if args.write is None and (sys.stdout is None or output.on_terminal()):
        raise UserError(
            "this is pcapng, not for a terminal: say --write FILE, or "
            f"wgvx capture {args.name} | tshark -r -",
            2,
        )


def _copy(coming: Stream, target: IO[bytes], counted: Counter) -> None:
    try:
        while data := coming.read():
            target.write(data)
            target.flush()
            counted.feed(data)
    except BrokenPipeError:
        # Its reader has seen enough; nothing is left to be flushed at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
    except OSError as error:
        raise UserError(f"{target.name}: {error.strerror}") from None


@contextlib.contextmanager
def _target(path: Path | None, *, secret: bool) -> Iterator[IO[bytes]]:
    if path is None:
        if secret:
            output.warn_of_readers("the keys go")
        yield sys.stdout.buffer
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as target:
        yield target


@contextlib.contextmanager
def _ended_by(coming: Stream) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the node's part, and what has been copied still comes."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: coming.enough()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

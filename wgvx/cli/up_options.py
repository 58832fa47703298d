"""What ``wgvx up`` takes on its command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wgvx import offloads
from wgvx.cli import logs
from wgvx.config import (
    parse_endpoint,
    parse_listener,
    parse_local_forward,
    parse_remote_forward,
)
from wgvx.dataplane.select import NAMES
from wgvx.ports.passed import is_open, named_descriptors
from wgvx.ports.request import MAX_QUEUES
from wgvx.privilege import confinement

T = TypeVar("T")

DESCRIPTION = """\
Run the node that NAME describes, in the foreground, until SIGTERM or SIGINT. "wgvx: NAME ready"
is printed when its UDP port is bound and its TAPs are up; it waits for no peer.

As root the TAPs are made in this network namespace. As an ordinary user, --rootless makes a user
and a network namespace of its own for them: enter it with `wgvx exec`, or give a COMMAND, which
runs inside while the node runs and ends it. Where there is none of this, --userspace needs no
more than a UDP socket: a TCP/IP stack in this very process has the TAP's address, and programs
reach the overlay through its proxies and forwards; COMMAND is told of them by ALL_PROXY.
"""

EPILOG = """\
examples:
  wgvx up site-a                          /etc/wgvx/site-a.toml, TAPs here, as root
  wgvx up ./a.toml --rootless             no privilege; then: wgvx exec a -- ip address
  wgvx up ./a.toml -- ping -c 3 10.0.0.2  one command on the overlay
  wgvx up ./a.toml --userspace -L 8080:10.0.0.2:80
                                          nothing but a port of this host that leads to the overlay
  wgvx up ./a.toml --userspace -- curl http://10.0.0.2/

environment:
  WGVX_DATAPLANE                          as --dataplane, which goes first
  WGVX_AEAD                               the library that the native data plane encrypts with:
                                          ipsec-mb or openssl (default: the faster one that is here)

exit status: 0 done, 1 failed while running, 2 bad usage or configuration. With COMMAND: its own,
128 + the signal that ended it, 126 or 127 where it cannot be started, 125 where wgvx failed
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "up",
        usage="wgvx up NAME [--rootless|--userspace|--auto] [options] [-- COMMAND ...]",
        help="run a node, as root or rootless",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", metavar="NAME", help="a file, or the name of one in ~/.config/wgvx or /etc/wgvx"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--rootless", action="store_true", help="put the TAPs into unprivileged namespaces"
    )
    way.add_argument(
        "--userspace",
        action="store_true",
        help="make no TAP: a TCP/IP stack in this process stands in for it",
    )
    way.add_argument(
        "--auto",
        action="store_true",
        help="make TAPs here (never with COMMAND), or else --rootless, or else --userspace, "
        "whichever is allowed first, and say why",
    )
    _add_services(parser)
    parser.add_argument(
        "--dataplane",
        choices=NAMES,
        default=os.environ.get("WGVX_DATAPLANE") or None,
        help="what handles the packets: native, in C, or reference, in Python and many times "
        "slower (default: native where it was built; WGVX_DATAPLANE)",
    )
    parser.add_argument(
        "--offload",
        metavar="LIST",
        type=_offloads,
        default=offloads.ALL,
        help="which offloads may be used: some of tso,uso,gso,gro, or none (default: all)",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_workers,
        default=1,
        help=f"threads of the native data plane, 1 to {MAX_QUEUES}: sending spreads flow by flow, "
        "receiving peer by peer (default: 1)",
    )
    parser.add_argument(
        "--tap-fd",
        metavar="[NAME=]FD",
        type=_tap_fd,
        action="append",
        help="use the TAP behind this open descriptor, passed in by the parent process or, by its "
        "FileDescriptorName=, by systemd, as the TAP NAME of the file; may be given again; "
        "not with --userspace, which has no TAPs",
    )
    parser.add_argument(
        "--key-log",
        metavar="FILE",
        type=Path,
        help="append every handshake's private keys to FILE, with which Wireshark decrypts a "
        "capture of this node (its preference wg.keylog_file)",
    )
    parser.add_argument(
        "--confine",
        metavar="LIST",
        type=_steps,
        default=confinement.ALL,
        help="what the node gives up before the first packet, some of caps (capabilities), nnp "
        "(new privileges) and seccomp (system calls), or none; a helper process keeps what is "
        "needed later (default: all)",
    )
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        type=_parsed(parse_listener, '"port" or "host:port" such as "127.0.0.1:9586"'),
        help="answer HTTP there, without HOST on the loopback address: metrics for Prometheus at "
        "/metrics, a status page at /, /livez and /readyz",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default=logs.TEXT,
        help="how the log is written to standard error: lines for people, or one JSON object a "
        "line (default: text)",
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="log more")


def _add_services(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_argument_group(
        "ways to a stack", "of --userspace or of the file, beside those of the file"
    )
    where = _parsed(parse_endpoint, '"host:port" such as "127.0.0.1:1080"')
    ways.add_argument(
        "--socks5",
        metavar="HOST:PORT",
        type=where,
        help="let a SOCKS5 proxy listen here (--userspace without any way: at 127.0.0.1:1080)",
    )
    ways.add_argument(
        "--http", metavar="HOST:PORT", type=where, help="let a proxy for HTTP CONNECT listen here"
    )
    ways.add_argument(
        *("-L", "--local"),
        metavar="[HOST:]PORT:HOST:PORT",
        type=_parsed(parse_local_forward, '"[host:]port:host:port"'),
        action="append",
        default=[],
        help="forward a port of this host to a place on the overlay, as ssh does; again for more",
    )
    ways.add_argument(
        *("-R", "--remote"),
        metavar="[ADDRESS:]PORT:HOST:PORT",
        type=_parsed(parse_remote_forward, '"[address:]port:host:port"'),
        action="append",
        default=[],
        help="forward a port of the stack's address to a place that this host reaches",
    )


def _parsed(parse: Callable[[str], T], wanted: str) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"found {text!r}, want {wanted}") from None

    return read


def _tap_fd(text: str) -> tuple[int, str | None]:
    """A descriptor, by number or as systemd named it, and which TAP it is said to be."""
    name, equals, which = text.rpartition("=")
    named = named_descriptors(os.environ, os.getpid())
    if which in named:
        return named[which], name if equals else None
    known = f"; systemd passed {', '.join(named)}" if named else ""
    if not which.isascii() or not which.isdecimal():
        raise argparse.ArgumentTypeError(f"{which!r} is no descriptor's number{known}")
    # At once, before anything of ours is opened and has this number.
    if not is_open(int(which)):
        raise argparse.ArgumentTypeError(
            f"descriptor {which} is not open: whoever starts wgvx has to pass it on, not closed on "
            f"exec{known}"
        )
    return int(which), name if equals else None


def _offloads(text: str) -> frozenset[str]:
    try:
        return offloads.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _steps(text: str) -> frozenset[str]:
    try:
        return confinement.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_QUEUES:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_QUEUES}")
    return int(text)

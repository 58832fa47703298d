"""``wgvx up``: run a node in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Set
from functools import partial
from pathlib import Path

from wgvx import offloads
from wgvx.cli import logs
from wgvx.cli.command import Command
from wgvx.cli.output import UserError, usage
from wgvx.config import Config, TapAttach, find, load
from wgvx.control.paths import AlreadyRunning, NodeLock, NoFolder
from wgvx.control.server import ControlServer
from wgvx.control.uapi_server import UapiServer
from wgvx.dataplane.interface import WorkerDataPlane
from wgvx.dataplane.select import NAMES, DataPlaneMissing, make_dataplane
from wgvx.keylog import KeyLog
from wgvx.loop import run as run_loop
from wgvx.node import Node
from wgvx.ports.errors import PortDeniedError, PortError, PortGone
from wgvx.ports.passed import assign, named_descriptors
from wgvx.ports.provision import Provisioner
from wgvx.ports.request import MAX_QUEUES
from wgvx.privilege import confinement
from wgvx.privilege.errands import Errands, HelpedErrands
from wgvx.privilege.plan import names_wanted
from wgvx.underlay import UnderlayError

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FAILED = 1
FAILED_WITH_COMMAND = 125

SLOWER = (
    "the native data plane is not here: the reference one, in Python, serves, many times slower "
    "(`wgvx doctor` tells how to have the native one)"
)

DESCRIPTION = """\
Run the node that NAME describes, in the foreground, until SIGTERM or SIGINT. "wgvx: NAME ready"
is printed when its UDP port is bound and its TAPs are up; it waits for no peer.

As root the TAPs are made in this network namespace. As an ordinary user, --rootless makes a user
and a network namespace of its own for them: enter it with `wgvx exec`, or give a COMMAND, which
runs inside while the node runs and ends it.
"""

EPILOG = """\
examples:
  wgvx up site-a                          /etc/wgvx/site-a.toml, TAPs here, as root
  wgvx up ./a.toml --rootless             no privilege; then: wgvx exec a -- ip address
  wgvx up ./a.toml -- ping -c 3 10.0.0.2  one command on the overlay

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
        usage="wgvx up NAME [--rootless] [options] [-- COMMAND ...]",
        help="run a node, as root or rootless",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", metavar="NAME", help="a file, or the name of one in ~/.config/wgvx or /etc/wgvx"
    )
    parser.add_argument(
        "--rootless", action="store_true", help="put the TAPs into unprivileged namespaces"
    )
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
        "FileDescriptorName=, by systemd, as the TAP NAME of the file; may be given again",
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
    parser.add_argument("--verbose", "-v", action="store_true", help="log more")


def run(args: argparse.Namespace) -> int:
    """Run the node to its end."""
    command: list[str] | None = args.passthrough
    if command == []:
        usage("a COMMAND is wanted after --")
    config = load(find(args.name))
    logs.to_stderr(verbose=args.verbose)
    try:
        dataplane = make_dataplane(args.dataplane, os.environ.get("WGVX_AEAD") or None)
    except DataPlaneMissing as missing:
        usage(str(missing))
    if args.workers > 1 and not isinstance(dataplane, WorkerDataPlane):
        usage(
            f"--workers {args.workers}: the {dataplane.name} data plane runs in one thread: leave "
            "--workers out, or use the native one (`wgvx doctor` tells how to have it)"
        )
    rootless = args.rootless or command is not None
    key_log = _open_key_log(args.key_log)
    try:
        lock = NodeLock(config.name)
        errands = Errands()
        try:
            passed = assign(dict(args.tap_fd or ()), _taps(config))
            needs_ports = rootless or any(name not in passed for name in _taps(config))
            if args.confine:
                errands = HelpedErrands(opens=not rootless, names=names_wanted(config))
            provision = partial(Provisioner.start, rootless, errands.channel)
            node = Node(
                config,
                dataplane,
                provision if needs_ports else None,
                offloads=args.offload,
                workers=args.workers,
                key_log=key_log,
                passed=passed,
                errands=errands,
            )
            slower = args.dataplane is None and dataplane.name == "reference"
            serving = _serve(node, lock, command, args.confine, slower=slower)
            return run_loop(serving, confinement.make_loop if args.confine else None)
        finally:
            lock.release(errands.unlink)
            errands.close()
    except PortDeniedError as denied:
        from wgvx import probe  # it takes time and memory, and a node that runs needs none of it

        raise UserError(f"{denied}\n{probe.other_ways(rootless)}", _failed(command)) from None
    except (AlreadyRunning, NoFolder, PortError, PortGone, UnderlayError) as error:
        raise UserError(str(error), _failed(command)) from None
    except OSError as error:
        if command is None:
            raise
        raise UserError(error.strerror or str(error), FAILED_WITH_COMMAND) from None
    finally:
        if key_log is not None:
            key_log.close()


def _open_key_log(path: Path | None) -> KeyLog | None:
    if path is None:
        return None
    try:
        key_log = KeyLog(path)
    except OSError as error:
        usage(f"--key-log {path}: {error.strerror}")
    log.warning("--key-log: whoever reads %s can read all traffic of this node", path)
    return key_log


def _taps(config: Config) -> list[str]:
    attachments = (attach for network in config.networks for attach in network.attach)
    return [attach.name for attach in attachments if isinstance(attach, TapAttach)]


def _tap_fd(text: str) -> tuple[int, str | None]:
    """A descriptor, by number or as systemd named it, and which TAP it is said to be."""
    name, equals, which = text.rpartition("=")
    named = named_descriptors(os.environ, os.getpid())
    if which in named:
        return named[which], name if equals else None
    if not which.isascii() or not which.isdecimal():
        known = f"; systemd passed {', '.join(named)}" if named else ""
        raise argparse.ArgumentTypeError(f"{which!r} is no descriptor's number{known}")
    return int(which), name if equals else None


def _failed(command: list[str] | None) -> int:
    return FAILED if command is None else FAILED_WITH_COMMAND


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


async def _serve(
    node: Node, lock: NodeLock, command: list[str] | None, steps: Set[str], *, slower: bool
) -> int:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, node.stop)
    control, uapi = ControlServer(node, lock), UapiServer(node)
    held: Command | None = None
    try:
        await node.prepare()
        await control.start()
        await uapi.start()
        if command is not None:
            held = Command(node, command)
        if steps:
            files = [lock.path, lock.socket, *([uapi.path] if uapi.path else ())]
            node.confine(steps, files)
        node.serve()
        _say_ready(node.config.name, command)
        if slower:
            log.warning(SLOWER)
        if held is None or node.is_ending:
            return await node.ended()
        return await held.run()
    finally:
        if held is not None:
            held.close()
        await control.close()
        await uapi.close()
        await node.close()
        # All is gone: a second signal must not make this a death by signal, once the loop that
        # handles them is closed.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _say_ready(name: str, command: list[str] | None) -> None:
    try:
        print(f"wgvx: {name} ready", file=sys.stdout if command is None else sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # A full disk, say.
        stream = "standard output" if command is None else "standard error"
        raise UserError(f"{stream}: {error.strerror}", _failed(command)) from None

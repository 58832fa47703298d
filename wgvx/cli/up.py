"""``wgvx up``: run a node in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from wgvx.cli import logs
from wgvx.cli.command import Command
from wgvx.cli.hangup import Hangup
from wgvx.cli.output import UserError, usage
from wgvx.cli.supervision import Supervision, Supervisor
from wgvx.cli.up_options import register
from wgvx.cli.ways import Way, command_environment, services_of, ways_to_take, why_first
from wgvx.config import Config, EndpointName, TapAttach, called, find, load
from wgvx.config.userspace import Services
from wgvx.control.paths import AlreadyRunning, NodeLock, NoFolder
from wgvx.control.server import ControlServer
from wgvx.control.uapi_server import UapiServer
from wgvx.dataplane.interface import WorkerDataPlane
from wgvx.dataplane.select import DataPlaneMissing, make_dataplane
from wgvx.keylog import KeyLog
from wgvx.loop import run as run_loop
from wgvx.node import Node
from wgvx.ports.errors import PortDeniedError, PortError, PortGone
from wgvx.ports.passed import assign
from wgvx.ports.provision import Provisioner
from wgvx.privilege import confinement
from wgvx.privilege.errands import Errands, HelpedErrands
from wgvx.privilege.plan import names_wanted
from wgvx.reload.reloader import Reloader
from wgvx.underlay import UnderlayError

if TYPE_CHECKING:
    from wgvx.control.web import Web

__all__ = ["register", "run"]

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FAILED = 1
FAILED_WITH_COMMAND = 125

SLOWER = (
    "the native data plane is not here: the reference one, in Python, serves, many times slower "
    "(`wgvx doctor` tells how to have the native one)"
)


def run(args: argparse.Namespace) -> int:
    """Run the node to its end, in the first way that works here of those that may be taken."""
    command: list[str] | None = args.passthrough
    if command == []:
        usage("a COMMAND is wanted after --")
    logs.to_stderr(args.log_format, node=called(args.name), verbose=args.verbose)
    supervision = Supervision.take(os.environ, os.getpid())
    config = load(find(args.name))
    services = services_of(args)
    key_log = _open_key_log(args.key_log)
    with_command = command is not None
    ways = ways_to_take(args, config, services, with_command=with_command)
    if args.auto:
        log.info("--auto: %s, %s", ways[0].value, why_first(ways[0]))
    try:
        for way, then in zip_longest(ways, ways[1:]):
            try:
                settled = way.services(config, services, with_command=with_command)
                return _run(args, config, way, settled, command, key_log, supervision)
            except PortDeniedError as denied:
                if then is None:
                    why = str(denied) if way is Way.USERSPACE else _others(denied, way)
                    raise UserError(why, _failed(command)) from None
                log.info("no %s: %s", way.value, denied)
                log.info("instead: %s", then.value)
        raise AssertionError("the last way returns or raises")
    except (AlreadyRunning, NoFolder, PortError, PortGone, UnderlayError) as error:
        raise UserError(str(error), _failed(command)) from None
    except OSError as error:
        if command is None:
            raise
        raise UserError(error.strerror or str(error), FAILED_WITH_COMMAND) from None
    finally:
        if key_log is not None:
            key_log.close()


def _run(
    args: argparse.Namespace,
    config: Config,
    way: Way,
    services: Services,
    command: list[str] | None,
    key_log: KeyLog | None,
    supervision: Supervision,
) -> int:
    config = way.change(config, services)
    try:
        dataplane = make_dataplane(args.dataplane, os.environ.get("WGVX_AEAD") or None)
    except DataPlaneMissing as missing:
        usage(str(missing))
    if args.workers > 1 and not isinstance(dataplane, WorkerDataPlane):
        usage(
            f"--workers {args.workers}: the {dataplane.name} data plane runs in one thread: leave "
            "--workers out, or use the native one (`wgvx doctor` tells how to have it)"
        )
    rootless = way is Way.ROOTLESS
    lock = NodeLock(config.name)
    errands = Errands()
    try:
        taps = _taps(config)
        passed = assign(_each_once(args.tap_fd or ()), taps)
        needs_ports = rootless or any(name not in passed for name in taps)
        if args.confine:
            errands = HelpedErrands(names=names_wanted(config))
        errands.manager = supervision.manager
        # Who makes rootless namespaces goes into them, and has no more power out here.
        provision = partial(Provisioner.start, rootless, None if rootless else errands.channel)
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
        supervisor = Supervisor(node, supervision.watchdog)
        change = partial(way.change, services=services)
        reloader = Reloader(node, change, supervisor.reloading)
        serving = _serve(node, lock, reloader, command, args, supervisor)
        return run_loop(serving, confinement.make_loop if args.confine else None)
    finally:
        lock.release(errands.unlink)
        errands.close()


def _others(denied: PortDeniedError, way: Way) -> str:
    from wgvx import probe  # it takes time and memory, and a node that runs needs none of it

    return probe.other_ways(denied, rootless=way is Way.ROOTLESS)


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
    return [attach.name for attach in config.attachments if isinstance(attach, TapAttach)]


def _each_once(given: Sequence[tuple[int, str | None]]) -> dict[int, str | None]:
    descriptors: dict[int, str | None] = {}
    for fd, name in given:
        if fd in descriptors:
            usage(f"--tap-fd {fd}: found twice, want each descriptor once")
        descriptors[fd] = name
    return descriptors


def _failed(command: list[str] | None) -> int:
    return FAILED if command is None else FAILED_WITH_COMMAND


async def _serve(
    node: Node,
    lock: NodeLock,
    reloader: Reloader,
    command: list[str] | None,
    args: argparse.Namespace,
    supervisor: Supervisor,
) -> int:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, node.stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # Blocked where an attempt has failed.
    control, uapi = ControlServer(node, lock, reloader), UapiServer(node)
    on_hangup = Hangup(node.stop, reloader.reload_soon)
    held: Command | None = None
    web: Web | None = None
    try:
        await node.prepare()
        await control.start()
        await uapi.start()
        if args.metrics is not None:
            web = _listen_for_http(node, args.metrics)
        if command is not None:
            held = Command(node, command, command_environment(node.config))
        if args.confine:
            files = [lock.path, lock.socket, *([uapi.path] if uapi.path else ())]
            node.confine(args.confine, files)
        node.serve()
        if web is not None:
            web.ready = True
        _say_ready(node.config.name, command)
        supervisor.ready()
        if args.dataplane is None and node.dataplane.name == "reference":
            log.warning(SLOWER)
        if held is None or node.is_ending:
            loop.add_signal_handler(signal.SIGHUP, on_hangup)
            return await node.ended()
        return await held.run()
    finally:
        supervisor.stopping()
        if held is not None:
            held.close()
        await reloader.close()
        if web is not None:
            web.close()
        await control.close()
        await uapi.close()
        await node.close()
        # All is gone: a second signal must not make this a death by signal, once the loop that
        # handles them is closed.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _listen_for_http(node: Node, where: EndpointName) -> Web:
    # What it takes costs time and memory, and not every node has it.
    from wgvx.control.web import Web

    try:
        web = Web(node, where)
    except OSError as error:
        raise UserError(f"--metrics {where}: {error.strerror or error}") from None
    if not where.is_loopback:
        log.warning(
            "--metrics: whoever reaches %s can read the names of peers, networks and ports and "
            "their counters",
            where,
        )
    return web


def _say_ready(name: str, command: list[str] | None) -> None:
    try:
        print(f"wgvx: {name} ready", file=sys.stdout if command is None else sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # A full disk, say.
        stream = "standard output" if command is None else "standard error"
        raise UserError(f"{stream}: {error.strerror}", _failed(command)) from None

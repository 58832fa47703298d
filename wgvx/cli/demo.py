"""``wgvx demo``: two nodes on this machine, traffic between them, a table of what happened."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from wgvx import keys
from wgvx.cli import demo_memory, demo_traffic, fdb, output, show
from wgvx.cli.output import UserError
from wgvx.config import Config, load
from wgvx.control.client import ask, find, open_namespaces
from wgvx.loop import run as run_loop
from wgvx.ports import child
from wgvx.ports.namespace import enter
from wgvx.underlay import open_sockets

PINGS = 5
SECONDS = 2.0
START_PATIENCE = 10.0
TRAFFIC_PATIENCE = 10.0
TCP_PORT = 5001
VNI = 4200

DESCRIPTION = """\
See it work: two nodes on this machine, each in a namespace of its own made without privilege,
joined by an encrypted tunnel over the loopback. Pings go across, data goes across, and everything
is gone afterwards. Nothing needs to be configured or installed.

Where namespaces cannot be had, the nodes get memory ports instead, and the demo says so.
"""

EPILOG = """\
example:
  wgvx demo

exit status: 0 it worked, 1 it did not
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    subparsers.add_parser(
        "demo",
        help="two nodes on this machine and traffic between them",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 - every command's signature
    """Show it, with TAPs or without."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stopped)
    with tempfile.TemporaryDirectory(prefix="wgvx-demo-") as folder:
        sites = _write_sites(Path(folder))
        started: list[Running] = []
        try:
            try:
                for site in sites:
                    started.append(_start(site))
            except _CannotStart as reason:
                if started:
                    raise UserError(str(reason)) from None
                _without_namespaces(sites, str(reason))
            else:
                _with_namespaces(started)
        finally:
            for running in started:
                _end(running.process)
    here = "wgvx" if shutil.which("wgvx") else sys.argv[0]
    output.line(f"\nAll of it is gone again. Next: {here} --help")
    return 0


def _stopped(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the demo with all that it started, as an interrupt does."""
    raise SystemExit(128 + number)


class Site(NamedTuple):
    """One of the two nodes, by its file."""

    name: str
    path: Path
    overlay: str


class Running(NamedTuple):
    """A node that runs."""

    site: Site
    process: subprocess.Popen[str]


class _CannotStart(Exception):  # noqa: N818 - a reason to show the demo another way
    """A rootless node did not start; says why."""


def _write_sites(folder: Path) -> tuple[Site, Site]:
    ports = [_free_port(), _free_port()]
    private = [keys.generate_private(), keys.generate_private()]
    shared = keys.generate_preshared()
    sites = []
    for own, other in ((0, 1), (1, 0)):
        # The process number keeps two demos apart.
        name = f"demo-{'ab'[own]}-{os.getpid()}"
        path = folder / f"{name}.toml"
        path.touch(mode=0o600)
        path.write_text(f"""
[node]
private_key = "{keys.encode(private[own])}"
listen_port = {ports[own]}
address = ["10.254.0.{own + 1}/24"]
mtu = 1420
state_dir = "{folder}"

[[peer]]
name = "{"ab"[other]}"
public_key = "{keys.encode(keys.public_key(private[other]))}"
preshared_key = "{keys.encode(shared)}"
endpoint = "127.0.0.1:{ports[other]}"
allowed_ips = ["10.254.0.{other + 1}/32"]

[[network]]
vni = {VNI}
tap = "blue0"
address = ["10.0.0.{own + 1}/24"]
""")
        sites.append(Site(name, path, f"10.0.0.{own + 1}"))
    return sites[0], sites[1]


def _free_port() -> int:
    sockets = open_sockets(0, 0)
    try:
        return sockets[0].port
    finally:
        for socket in sockets:
            socket.close()


# --- with namespaces ---------------------------------------------------------------------------


def _start(site: Site) -> Running:
    process = subprocess.Popen(
        child.command("wgvx.cli.main", "up", str(site.path), "--rootless"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ready = _line(process, START_PATIENCE) == f"wgvx: {site.name} ready"
    except BaseException:  # We are stopped ourselves.
        _end(process)
        raise
    if ready:
        return Running(site, process)
    said = _end(process)
    raise _CannotStart(said.removeprefix("wgvx: ") or "a node did not become ready")


def _line(process: subprocess.Popen[str], patience: float) -> str:
    """The next line of a process's output; empty when it ends or says nothing in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], patience)
    return process.stdout.readline().strip() if ready else ""


def _end(process: subprocess.Popen[str]) -> str:
    """What it said on standard error."""
    process.terminate()
    return process.communicate()[1].strip()


def _with_namespaces(nodes: list[Running]) -> None:
    near, far = nodes
    output.line("Two rootless nodes run, each with a TAP in a namespace of its own:")
    output.table(
        ("node", "tunnel address", "overlay address", "UDP"),
        [
            (node.site.name, f"10.254.0.{number}", node.site.overlay, _show(node)["listen_port"])
            for number, node in enumerate(nodes, 1)
        ],
        indent=2,
    )
    output.heading("handshake")
    output.line(f"  {_await_handshake(near)}")

    output.heading(f"{PINGS} pings from {near.site.overlay} to {far.site.overlay}")
    _tell_pings(_traffic(near, "ping", far.site.overlay, str(PINGS)))

    output.heading(f"TCP for {SECONDS:.0f} s, {near.site.overlay} to {far.site.overlay}")
    output.line(f"  {_transfer(near, far)}")

    for node in nodes:
        output.heading(f"forwarding table of {node.site.name}")
        fdb.print_rows(ask(find(node.site.name), "fdb"))
    output.line()
    shown = _show(near)
    show.print_node(shown)
    if shown["dataplane"] == "reference":
        output.line("\nThat was the slow data plane: `wgvx doctor` tells of the native one.")


def _show(node: Running) -> dict[str, Any]:
    shown: dict[str, Any] = ask(find(node.site.name), "show")
    return shown


def _await_handshake(node: Running) -> str:
    until = time.monotonic() + START_PATIENCE
    while time.monotonic() < until:
        peer = _show(node)["peers"][0]
        if peer["latest_handshake"]:
            return f"with {peer['name']} at {peer['endpoint']}, public key {peer['public_key']}"
        time.sleep(0.05)
    raise UserError("the nodes did not complete a handshake")


def _spawn(node: Running, *arguments: str) -> subprocess.Popen[str]:
    namespaces = open_namespaces(find(node.site.name), None)
    try:
        process: subprocess.Popen[Any] = enter(
            *namespaces,
            child.command(demo_traffic.__name__, *arguments),
            stdout=subprocess.PIPE,
            text=True,
        )
        return process
    finally:
        for descriptor in namespaces:
            os.close(descriptor)


def _traffic(node: Running, *arguments: str) -> Any:
    return _result(_spawn(node, *arguments))


def _result(process: subprocess.Popen[str]) -> Any:
    with process:
        line = _line(process, TRAFFIC_PATIENCE)
        if not line:
            process.kill()
            raise UserError("the traffic inside the namespaces failed")
        return json.loads(line)


def _transfer(near: Running, far: Running) -> str:
    receiver = _spawn(far, "receive", str(TCP_PORT))
    _line(receiver, TRAFFIC_PATIENCE)  # It listens.
    sent = _traffic(near, "send", far.site.overlay, str(TCP_PORT), str(SECONDS))
    received = _result(receiver)
    if received["digest"] != sent["digest"]:
        raise UserError("the data that arrived is not the data that was sent")
    return f"{_rate(received['bytes'], received['seconds'])}, every byte intact"


# --- without -----------------------------------------------------------------------------------


def _without_namespaces(sites: tuple[Site, Site], reason: str) -> None:
    output.line("No namespace can be had here, so the nodes get memory ports instead of TAPs; the")
    output.line(f"tunnel between them is real, over loopback UDP. The reason: {reason}")
    configs: tuple[Config, Config] = (load(sites[0].path), load(sites[1].path))
    outcome = run_loop(demo_memory.run(configs, PINGS, SECONDS))
    output.heading(f"{PINGS} frames there and back")
    _tell_pings(outcome.pings)
    output.heading(f"frames for {SECONDS:.0f} s")
    output.line(f"  {outcome.frames} frames, {_rate(outcome.bytes, outcome.seconds)}")
    for site, table in zip(sites, outcome.tables, strict=True):
        output.heading(f"forwarding table of {site.name}")
        fdb.print_rows(table)
    output.line()
    show.print_node(outcome.nodes[0])


# --- both --------------------------------------------------------------------------------------


def _tell_pings(times: list[float]) -> None:
    if not times:
        raise UserError("no ping was answered")
    output.line(
        f"  {len(times)} of {PINGS} answered, "
        f"median {statistics.median(times):.2f} ms, fastest {min(times):.2f} ms"
    )


def _rate(count: int, seconds: float) -> str:
    return f"{count / 1e6:.0f} MB in {seconds:.1f} s: {count * 8 / seconds / 1e6:.0f} Mbit/s"

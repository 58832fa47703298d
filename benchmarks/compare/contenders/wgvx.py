"""wgvx itself: ``wgvx up`` at both ends, and around a hub."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare.contenders.base import OVERLAY_MTU, TUNNEL_MTU, Contender, Victim
from benchmarks.compare.contenders.keys import Key, new_key
from benchmarks.compare.lab import Host, Lab, unique
from benchmarks.compare.obtain import Missing, first_line
from benchmarks.compare.processes import Process, run, wait_for

ROOT = Path(__file__).resolve().parents[3]
VNI = 4200


@dataclass(frozen=True)
class Peer:
    """A ``[[peer]]``."""

    key: Key
    allowed: tuple[str, ...]
    endpoint: str | None = None
    keepalive: int = 0

    def toml(self) -> str:
        allowed = ", ".join(f'"{prefix}"' for prefix in self.allowed)
        lines = [
            "[[peer]]",
            f'public_key = "{self.key.public_text}"',
            f"allowed_ips = [{allowed}]",
            f"persistent_keepalive = {self.keepalive}",
        ]
        if self.endpoint:
            lines.append(f'endpoint = "{self.endpoint}"')
        return "\n".join(lines)


@dataclass(frozen=True)
class Node:
    """A node's file. ``attach`` None is a node without a network."""

    key: Key
    port: int
    tunnel: str
    peers: tuple[Peer, ...]
    attach: str | None = None
    """What stands between the brackets of ``attach``."""
    address: str = ""
    remote: str = ""
    forward: bool = False

    def toml(self, state: Path) -> str:
        node = f"""[node]
private_key = "{self.key.private_text}"
listen_port = {self.port}
address = ["{self.tunnel}/24"]
mtu = {TUNNEL_MTU}
forward = {str(self.forward).lower()}
state_dir = "{state}"
"""
        address = f'address = ["{self.address}/24"]' if self.address else ""
        remotes = f'"{self.remote}"' if self.remote else ""
        network = f"""[[network]]
vni = {VNI}
attach = [{self.attach}]
mtu = {OVERLAY_MTU}
{address}
remotes = [{remotes}]
"""
        peers = "\n".join(peer.toml() for peer in self.peers)
        return "\n".join([node, peers, network if self.attach else ""])


class Wgvx(Contender):
    """``wgvx up`` at both ends with a given data plane, and AEAD library where it has a choice."""

    def __init__(self, lab: Lab, number: int, dataplane: str, aead: str | None = None) -> None:
        super().__init__(lab, number)
        self.dataplane, self.aead = dataplane, aead
        self.name = name_of(dataplane, aead)
        self.title = f"wgvx, {aead or f'{dataplane} data plane'}"
        self.keys = {host.label: new_key() for host in (lab.a, lab.b, lab.hub)}

    def prepare(self) -> str:
        commit = first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
        version = f"{first_line(*wgvx_command(), '--version')} ({commit})"
        if self.dataplane == "native" and not _has_native():
            raise Missing(
                "wgvx was installed without its native data plane",
                "apt-get install gcc libc6-dev python3-dev libssl-dev libipsec-mb-dev, "
                "then install wgvx anew",
            )
        return version

    def start(self) -> None:
        for host, other in self.pairs:
            endpoint = f"{other.addresses[host.label]}:{self.port}"
            peer = Peer(self.keys[other.label], (f"{self.inner(other)}/32",), endpoint)
            self.add_node(host, self.end_node(host, other, peer))

    def end_node(self, host: Host, other: Host, peer: Peer) -> Node:
        """The node at an end, which reaches the other end through this peer."""
        return Node(
            self.keys[host.label],
            self.port,
            self.inner(host),
            (peer,),
            tap(self.device(host)),
            self.address(host),
            self.inner(other),
        )

    def inner(self, host: Host) -> str:
        """A node's address inside the tunnel."""
        hosts = (self.lab.a, self.lab.b, self.lab.hub)
        return f"10.{100 + self.number}.0.{hosts.index(host) + 1}"

    def add_node(self, host: Host, node: Node) -> None:
        """Start a node and keep it among those that carry the packets."""
        label = f"{host.label[0]}{self.number}"
        self.daemons.append(self.run_node(host, label, node))

    def run_node(self, host: Host, label: str, node: Node) -> Process:
        """Start a node, see that it is ready and of the wanted kind."""
        name = unique(label)
        file = self.lab.folder / f"{name}.toml"
        file.touch(0o600)
        file.write_text(node.toml(self.lab.folder / name))
        environment = ("env", f"WGVX_AEAD={self.aead}") if self.aead else ()
        up = (*wgvx_command(), "up", str(file), "--dataplane", self.dataplane)
        daemon = host.start(*environment, *up)
        try:
            wait_for(partial(_is_ready, daemon, name), f"{self.name} is ready", daemon)
            shown = show(name)
            if shown["dataplane"] != self.dataplane or self.aead not in (None, shown["aead"]):
                raise Missing(
                    f"runs with {shown['aead']} ({shown['dataplane']})",
                    "apt-get install libipsec-mb-dev, then install wgvx anew",
                )
        except BaseException:
            daemon.end()
            raise
        return daemon

    def victim(self) -> Victim | None:
        b = self.lab.b
        address = b.addresses[self.lab.crowd.label]
        return Victim(address, self.port, self.keys[b.label].public)


class WgvxHub(Wgvx):
    """Two ends that know the hub alone, which forwards."""

    def start(self) -> None:
        hub = self.lab.hub
        ends = tuple(
            Peer(self.keys[end.label], (f"{self.inner(end)}/32",), keepalive=25)
            for end in self.ends
        )
        node = Node(self.keys[hub.label], self.port, self.inner(hub), ends, forward=True)
        self.add_node(hub, node)
        for host, other in self.pairs:
            endpoint = f"{hub.addresses[host.label]}:{self.port}"
            behind = tuple(f"{self.inner(one)}/32" for one in (other, hub))
            peer = Peer(self.keys[hub.label], behind, endpoint, keepalive=25)
            self.add_node(host, self.end_node(host, other, peer))


def tap(name: str) -> str:
    """An attachment."""
    return f'{{ type = "tap", name = "{name}" }}'


def name_of(dataplane: str, aead: str | None) -> str:
    return f"wgvx-{aead or dataplane}"


def wgvx_command() -> list[str]:
    beside = Path(sys.executable).with_name("wgvx")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "wgvx"]


def show(name: str) -> dict[str, Any]:
    """What ``wgvx show`` says of a running node."""
    shown: dict[str, Any] = json.loads(run(*wgvx_command(), "show", name, "--json"))
    return shown


def _is_ready(daemon: Process, name: str) -> bool:
    return f"wgvx: {name} ready" in daemon.output


def _has_native() -> bool:
    """Asked of another process: a module of C may be broken in any way."""
    probe = [sys.executable, "-c", "import wgvx._native"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0

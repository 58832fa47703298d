"""The node under test, and what it and its peers are configured by.

Node n has the tunnel addresses 10.254.0.n and fd00:fe::n, and on the overlay 10.0.0.n and
fd00:a::n: nodes of different kinds (:mod:`tests.netns.vxlan_nodes`) are
configured by the same few calls.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import itertools
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.netns.lab import Completed, Lab, Namespace, Place, Process, eventually, unique_name

UAPI_FOLDER = Path("/var/run/wireguard")
WGVX = str(Path(sys.executable).with_name("wgvx"))
VNI = 4200
FLOOD_MAC = "00:00:00:00:00:00"
# Every node in a namespace of its own has the same port.
PORT = 51820


def private_key() -> str:
    """A new private key, base64."""
    return base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key(private: str) -> str:
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private)).public_key()
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()


def preshared_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def tunnel_address(index: int, family: int) -> str:
    return f"10.254.0.{index}" if family == 4 else f"fd00:fe::{index:x}"


def overlay_address(index: int, family: int, subnet: int = 0) -> str:
    return f"10.0.{subnet}.{index}" if family == 4 else f"fd00:a{subnet:x}::{index:x}"


def host_prefix(address: str) -> str:
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def toml(tables: dict[str, Any]) -> str:
    """A configuration as text: ``{"node": {...}, "peer": [...], "network": [...]}``."""

    def value(item: object) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(v)}" for key, v in item.items()) + " }"
        if isinstance(item, list):
            return "[" + ", ".join(value(v) for v in item) + "]"
        return json.dumps(item)  # strings, integers and booleans are written alike

    lines = []
    for name, content in tables.items():
        many = isinstance(content, list)
        for table in content if many else [content]:
            lines.append(f"[[{name}]]" if many else f"[{name}]")
            lines += [f"{key} = {value(item)}" for key, item in table.items()]
    return "\n".join(lines) + "\n"


@dataclass
class Identity:
    """What another node must know to be a peer of this one."""

    name: str
    index: int
    private: str
    port: int
    address: dict[int, str]
    """The underlay address per family."""

    @property
    def public(self) -> str:
        return public_key(self.private)


class WgvxNode:
    """A node run by ``wgvx up``."""

    def __init__(
        self,
        place: Place,
        label: str,
        index: int,
        *,
        overlay: int = 4,
        port: int = PORT,
        address: dict[int, str] | None = None,
    ) -> None:
        self.place = place
        self.overlay = overlay
        if address is None:
            assert isinstance(place, Namespace)
            address = {4: place.address(4), 6: place.address(6)}
        self.id = Identity(unique_name(label), index, private_key(), port, address)
        self.name = self.tap = self.id.name
        self.process: Process | None = None
        self.address = {family: overlay_address(index, family) for family in (4, 6)}
        self.keeps: set[str] = set()
        """Interfaces that were there before and must still be there afterwards."""
        key_file = place.write(f"{self.name}.key", self.id.private + "\n")
        self.node: dict[str, Any] = {
            "private_key_file": key_file.name,
            "listen_port": port,
            "address": [f"{tunnel_address(index, overlay)}/{24 if overlay == 4 else 64}"],
            "state_dir": str(place.folder / "state"),
        }
        self.peers: list[dict[str, Any]] = []
        self.networks: list[dict[str, Any]] = [
            {
                "vni": VNI,
                "address": [f"{self.address[4]}/24", f"{self.address[6]}/64"],
            }
        ]

    @property
    def host(self) -> Namespace:
        """The namespace that the node runs in."""
        assert isinstance(self.place, Namespace)
        return self.place

    @property
    def config_path(self) -> Path:
        return self.place.folder / f"{self.name}.toml"

    def add_peer(
        self,
        other: Identity,
        *,
        underlay: int | None,
        psk: str | None = None,
        persistent_keepalive: int | None = None,
        **more: object,
    ) -> dict[str, Any]:
        """Make ``other`` a peer; ``underlay`` None: without an endpoint, so it must call first."""
        peer: dict[str, Any] = {
            "name": other.name,
            "public_key": other.public,
            "allowed_ips": [host_prefix(tunnel_address(other.index, self.overlay))],
            **more,
        }
        if underlay is not None:
            peer["endpoint"] = endpoint(other.address[underlay], other.port)
        if persistent_keepalive is not None:
            peer["persistent_keepalive"] = persistent_keepalive
        if psk is not None:
            file = self.place.write(f"{self.name}-{other.name}.psk", psk + "\n")
            peer["preshared_key_file"] = file.name
        self.peers.append(peer)
        return peer

    def write(self) -> None:
        text = toml({"node": self.node, "peer": self.peers, "network": self.networks})
        self.place.write(self.config_path.name, text)

    def launch(self, *args: str) -> Process:
        """Start ``wgvx up`` on our file; see :meth:`start`."""
        self.write()
        self.process = self.place.start(WGVX, "up", str(self.config_path), *args, log=self.name)
        return self.process

    def start(self, *args: str) -> None:
        """Start the node and wait until it says that it is ready."""
        process = self.launch(*args)
        line = f"wgvx: {self.name} ready\n"

        def ready() -> bool:
            assert process.returncode() is None, f"ended early: {process}"
            # With a command, standard output is the command's.
            return line in (process.stderr if "--" in args else process.stdout)

        eventually(ready, f"{self.name} is ready: {process}", 20)

    def wgvx(self, *args: str, check: bool = True, timeout: float = 30) -> Completed:
        return self.place.run(WGVX, *args, check=check, timeout=timeout)

    def show(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.wgvx("show", self.name, "--json").stdout)
        return status

    def peer(self, other: Identity) -> dict[str, Any]:
        """The peer ``other`` as ``show`` has it."""
        found = [row for row in self.show()["peers"] if row["public_key"] == other.public]
        assert len(found) == 1, found
        row: dict[str, Any] = found[0]
        return row

    def latest_handshake(self, other: Identity) -> int:
        """Unix seconds, 0 for never."""
        return int(self.peer(other)["latest_handshake"])

    def transfer(self, other: Identity) -> tuple[int, int]:
        """Bytes received from a peer and sent to it."""
        row = self.peer(other)
        return int(row["rx_bytes"]), int(row["tx_bytes"])

    def endpoint(self, other: Identity) -> str | None:
        """Where it believes a peer to be."""
        found: str | None = self.peer(other)["endpoint"]
        return found

    def network(self, vni: int = VNI) -> dict[str, Any]:
        found = [row for row in self.show()["networks"] if row["vni"] == vni]
        assert len(found) == 1, found
        row: dict[str, Any] = found[0]
        return row

    def drops(self, reason: str) -> int:
        return int(self.show()["drops"][reason])

    def fdb(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.wgvx("fdb", self.name, "--json").stdout)
        return rows

    def lookup(self, mac: str) -> dict[str, Any] | None:
        """The row of a MAC in the forwarding table, if it has one."""
        rows = [row for row in self.fdb() if row["mac"] == mac]
        assert len(rows) <= 1, rows
        return rows[0] if rows else None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the node by a signal: exit status 0, and nothing that it created is left."""
        assert self.process is not None
        family = self.process.family()
        self.process.send_signal(number)
        self.assert_ended(family)

    def restart(self) -> None:
        """Go away without a word, and come back from the same files."""
        self.stop()
        self.start()

    def assert_ended(self, family: list[int], status: int = 0) -> None:
        """The process ends with ``status``; no process, link, socket or port of it remains."""
        process = self.process
        assert process is not None
        returncode = process.wait()
        assert returncode == status, f"exit {returncode}, not {status}: {process}"
        for trouble in ("Traceback", "ResourceWarning", "never retrieved", "was destroyed but"):
            assert trouble not in process.stderr, process
        # A child whose parent is gone may take a moment to be reaped by init.
        eventually(lambda: not any(_alive(pid) for pid in family), f"{family} have ended", 3)
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        links = self.place.links()
        wanted = {self.tap, *(n["tap"] for n in self.networks if "tap" in n)}
        assert wanted & links == self.keeps, links
        assert self.files() == []
        if isinstance(self.place, Namespace) and self.id.port:
            for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                with contextlib.closing(self.place.socket(family, socket.SOCK_DGRAM)) as udp:
                    udp.bind((address, self.id.port))

    def files(self) -> list[Path]:
        """The node's sockets and locks, in all the folders where there may be some."""
        folders = [UAPI_FOLDER, Path("/run/wgvx"), *Path("/tmp").glob("wgvx-*")]
        if runtime := self.place.env.get("XDG_RUNTIME_DIR"):
            folders.append(Path(runtime, "wgvx"))
        return [
            path
            for folder in folders
            for path in (folder.glob(f"{self.name}.*") if folder.is_dir() else ())
        ]


def wgvx_pair(
    lab: Lab, *, underlay: int = 4, overlay: int = 4, underlay_mtu: int = 1500
) -> tuple[WgvxNode, WgvxNode]:
    """Two nodes on two hosts with a cable between, each with the other's endpoint; not started."""
    hosts = lab.host("a"), lab.host("b")
    lab.lan(*hosts, mtu=underlay_mtu)
    a = WgvxNode(hosts[0], "a", 1, overlay=overlay)
    b = WgvxNode(hosts[1], "b", 2, overlay=overlay)
    a.add_peer(b.id, underlay=underlay)
    b.add_peer(a.id, underlay=underlay)
    return a, b


def wgvx_three(lab: Lab) -> tuple[WgvxNode, WgvxNode, WgvxNode]:
    """The same with three, each of which knows the others."""
    hosts = [lab.host(label) for label in "abc"]
    lab.lan(*hosts)
    a, b, c = nodes = [
        WgvxNode(host, label, host.index) for host, label in zip(hosts, "abc", strict=True)
    ]
    for node, other in itertools.permutations(nodes, 2):
        node.add_peer(other.id, underlay=4)
    return a, b, c


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

"""wgvx's ports that need no TAP, and what a user without privilege could take instead.

Programs that have no interface are reached through a port that they forward: iperf3 at a connects
to the loopback there, and arrives at b.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.compare.contenders.base import IPERF_PORT, OVERLAY_MTU, TUNNEL_MTU, Contender
from benchmarks.compare.contenders.wgvx import Node, Peer, Wgvx, tap
from benchmarks.compare.contenders.wireguard import NewestWireguardGo
from benchmarks.compare.lab import Host, Lab
from benchmarks.compare.obtain import debian, debian_version, onetun
from benchmarks.compare.processes import Process
from benchmarks.compare.traffic.iperf import Iperf

LOOPBACK = "127.0.0.1"


class Unpinged(Contender):
    """Carries TCP, and perhaps nothing else."""

    def answers(self) -> bool:
        # Not by connecting alone: whoever forwards takes a connection before he has one.
        return bool(Iperf(self, 1).result().get("sum_received", {}).get("bytes"))


class Forwarded(Unpinged):
    """Its end at a is a port on the loopback, and no interface."""

    def towards(self, host: Host) -> tuple[str, int]:
        return (LOOPBACK, self.port) if host is self.lab.b else super().towards(host)


class VmSocket(Wgvx):
    """A VM's socket at a, `-netdev stream`. In the VM's place stands a wgvx without peers, which
    bridges its own end to a TAP, and is not counted among the daemons."""

    name = "wgvx-stream"

    def __init__(self, lab: Lab, number: int, dataplane: str, aead: str | None = None) -> None:
        super().__init__(lab, number, dataplane, aead)
        self.name, self.title = VmSocket.name, "wgvx, a VM's socket"
        self.path = lab.folder / f"vm{number}.sock"

    def end_node(self, host: Host, other: Host, peer: Peer) -> Node:
        node = super().end_node(host, other, peer)
        if host is not self.lab.a:
            return node
        attach = f'{{ type = "stream", name = "vm", listen = "{self.path}" }}'
        return replace(node, attach=attach, address="")

    def start(self) -> None:
        super().start()
        a = self.lab.a
        attach = (
            f'{tap(self.device(a))}, {{ type = "stream", name = "node", connect = "{self.path}" }}'
        )
        vm = Node(self.keys[self.lab.hub.label], 0, self.inner(self.lab.hub), (), attach=attach)
        self.helpers.append(self.run_node(a, f"v{self.number}", vm))
        a.give(self.device(a), self.address(a), OVERLAY_MTU)


class UserspaceStack(Forwarded, Wgvx):
    """The TCP/IP stack in wgvx itself, through a forwarded port."""

    name = "wgvx-stack"

    def __init__(self, lab: Lab, number: int, dataplane: str, aead: str | None = None) -> None:
        super().__init__(lab, number, dataplane, aead)
        self.name, self.title = UserspaceStack.name, "wgvx, its userspace stack"

    def end_node(self, host: Host, other: Host, peer: Peer) -> Node:
        node = super().end_node(host, other, peer)
        if host is not self.lab.a:
            return node
        forward = f"{self.port}:{self.address(other)}:{IPERF_PORT}"
        attach = f'{{ type = "stack", name = "apps", forward = ["{forward}"] }}'
        return replace(node, attach=attach)


class Onetun(Forwarded, NewestWireguardGo):
    """onetun at a, boringtun with a stack of its own, to wireguard-go at b: IP alone."""

    name = "onetun"
    title = "onetun (Layer 3)"
    vxlan = False

    def prepare(self) -> str:
        version = super().prepare()
        self.onetun, ours = onetun()
        return f"{ours}, {version}"

    def device(self, host: Host) -> str:
        return self.under(host)

    def start(self) -> None:
        a, b = self.ends
        peer = (self.keys[a.label], f"{a.addresses[b.label]}:{self.port}", [self.inner(a)])
        self.add_wireguard(b, self.under(b), self.inner(b), [peer])
        key = self.lab.folder / f"onetun{self.number}.key"
        key.touch(0o600)
        key.write_text(self.keys[a.label].private_text)
        command = [
            *(self.onetun, f"{LOOPBACK}:{self.port}:{self.inner(b)}:{IPERF_PORT}"),
            *("--endpoint-addr", f"{b.addresses[a.label]}:{self.port}"),
            *("--endpoint-bind-addr", f"{a.addresses[b.label]}:{self.port}"),
            *("--endpoint-public-key", self.keys[b.label].public_text),
            *("--private-key-file", str(key), "--source-peer-ip", self.inner(a)),
            *("--keep-alive", "10", "--max-transmission-unit", str(TUNNEL_MTU)),
        ]
        self.daemons.append(a.start(*command))


class Slirp4netns(Unpinged):
    """A namespace of its own at a, joined to a's network as rootless containers are: nothing is
    encrypted."""

    name = "slirp4netns"
    title = "slirp4netns, in clear"

    def prepare(self) -> str:
        self.program = debian("slirp4netns", "slirp4netns")
        return debian_version("slirp4netns")

    def start(self) -> None:
        self.inside = self.lab.add_host(f"n{self.number}")
        options = ("--configure", "--mtu=65520", "--netns-type=path")
        path = f"/run/netns/{self.inside.name}"
        self.daemons.append(self.lab.a.start(self.program, *options, path, "tap0"))

    def client(self, *command: str) -> Process:
        return self.inside.start(*command)

    def address(self, host: Host) -> str:
        a, b = self.ends
        return host.addresses[b.label if host is a else a.label]

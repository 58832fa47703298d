"""Resident memory."""

from __future__ import annotations

from functools import partial

from benchmarks.compare.contenders.base import Contender
from benchmarks.compare.contenders.keys import new_key
from benchmarks.compare.contenders.wgvx import Node, Peer, Wgvx, show, tap
from benchmarks.compare.measures.metrics import Metrics
from benchmarks.compare.processes import Process, wait_for
from benchmarks.compare.traffic.iperf import Iperf

PEERS = 10
FIRST_PORT = 53000


def resident(contender: Contender, seconds: float) -> Metrics:
    """Of the nodes as they are, with all behind them; and of a wgvx with ten peers."""
    size = contender.resident_bytes()
    metrics: Metrics = {"resident_mib": size / 2**20 if size else None}
    if isinstance(contender, Wgvx):
        ten = TenPeers(contender)
        try:
            metrics["resident_10_peers_mib"] = ten.measure(seconds) / 2**20
        finally:
            ten.stop()
    return metrics


class TenPeers(Contender):
    """A node at a whose ten peers are all at b, each on a port of its own; one has a network."""

    name = "ten peers"

    def __init__(self, model: Wgvx) -> None:
        super().__init__(model.lab, 50)
        self.model = model

    def prepare(self) -> str:
        return self.model.prepare()

    def start(self) -> None:
        a, b = self.ends
        place, back = b.addresses[a.label], a.addresses[b.label]
        center, keys = new_key(), [new_key() for _ in range(PEERS)]
        ports = [FIRST_PORT + number for number in range(PEERS + 1)]
        inner = [f"10.150.0.{number + 1}" for number in range(PEERS + 1)]
        peers = tuple(
            Peer(key, (f"{address}/32",), f"{place}:{port}", keepalive=1)
            for key, address, port in zip(keys, inner[1:], ports[1:], strict=True)
        )
        here = Peer(center, (f"{inner[0]}/32",), f"{back}:{ports[0]}", keepalive=1)
        network = tap(self.device(a))
        node = Node(center, ports[0], inner[0], peers, network, self.address(a), inner[1])
        self.daemons.append(self.model.run_node(a, "t0", node))
        for number, key in enumerate(keys, 1):
            node = Node(key, ports[number], inner[number], (here,))
            if number == 1:
                node = Node(
                    key, ports[1], inner[1], (here,), tap(self.device(b)), self.address(b), inner[0]
                )
            self.daemons.append(self.model.run_node(b, f"t{number}", node))

    def measure(self, seconds: float) -> float:
        """Bytes, with every session established and after a TCP stream."""
        self.bring_up()
        center = self.daemons[0]
        wait_for(partial(self._all_in_session, center), "ten sessions", center)
        Iperf(self, seconds).result()
        return center.resident_bytes()

    def _all_in_session(self, center: Process) -> bool:
        name = center.command[center.command.index("up") + 1]
        return all(peer["latest_handshake"] for peer in show(name)["peers"])

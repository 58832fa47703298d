"""``wgvx show --watch``: what a node counts, as rates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from wgvx.cli import board
from wgvx.cli.board import Board, Cell, Row, Section
from wgvx.cli.units import ago, data_rate, data_size, duration, event_rate
from wgvx.config import quiet
from wgvx.control.client import ControlError

if TYPE_CHECKING:
    from rich.console import RenderableType

Node = dict[str, Any]
"""As of `wgvx show --json`."""

TREND = 16
"""Looks that the trend of a peer's traffic shows."""

LEVELS = " .:-=+*#%@"

FRESH_HANDSHAKE = 180
"""Seconds for which a session's keys serve (REJECT-AFTER-TIME)."""


class Sample:
    """A node, and when it was seen, in monotonic seconds."""

    def __init__(self, node: Node, at: float) -> None:
        self.node = node
        self.at = at
        self.peers = {peer["public_key"]: peer for peer in node["peers"]}
        self.networks = {network["vni"]: network for network in node["networks"]}


Counter = Callable[[Sample], int | None]
"""What a node had counted, if it did."""


def rate(before: Sample | None, after: Sample, counter: Counter) -> float | None:
    """How fast a counter grew, a second; None where it was not there before, or began anew."""
    if before is None or before.node.get("started") != after.node.get("started"):
        return None
    first, second = counter(before), counter(after)
    if first is None or second is None or second < first or after.at <= before.at:
        return None
    return (second - first) / (after.at - before.at)


def of_peer(key: str, name: str) -> Counter:
    """That of a peer, by its public key."""
    return lambda sample: sample.peers.get(key, {}).get(name)


def of_network(vni: int, name: str) -> Counter:
    """That of a network."""
    return lambda sample: sample.networks.get(vni, {}).get(name)


def of_drops(reason: str) -> Counter:
    """That of a reason."""
    return lambda sample: sample.node["drops"].get(reason)


class Watched:
    """One node over time."""

    def __init__(self) -> None:
        self._before: Sample | None = None
        self._now: Sample | None = None
        self._trends: dict[str, deque[float]] = {}

    def see(self, node: Node, at: float) -> None:
        """What it says of itself at `at`."""
        self._before, self._now = self._now, Sample(node, at)
        old, self._trends = self._trends, {}
        for peer in node["peers"]:
            trend = old.get(peer["public_key"]) or deque(maxlen=TREND)
            self._trends[peer["public_key"]] = trend
            trend.append(_sum(*self._peer_rates(peer["public_key"])))

    def board(self, wall_clock: float) -> Board:
        """What is known; `wall_clock` in Unix seconds."""
        assert self._now is not None
        node = self._now.node
        title = [Cell(f"node {node['name']}", "bold"), Cell(f"port {node['listen_port']}")]
        title.append(Cell(f"{node['dataplane']} ({node['aead']})"))
        if "started" in node:
            title.append(Cell(f"up {duration(wall_clock - node['started'])}"))
        sections = (self._peers(wall_clock), self._networks(), self._drops())
        return Board(title, [section for section in sections if section.rows])

    def _rate(self, counter: Counter) -> float | None:
        assert self._now is not None
        return rate(self._before, self._now, counter)

    def _peer_rates(self, key: str) -> tuple[float | None, float | None]:
        return self._rate(of_peer(key, "rx_bytes")), self._rate(of_peer(key, "tx_bytes"))

    def _peers(self, wall_clock: float) -> Section:
        assert self._now is not None
        rows = []
        for peer in self._now.node["peers"]:
            received, sent = self._peer_rates(peer["public_key"])
            cells = (
                Cell(peer["name"] or peer["public_key"], "bold"),
                peer["endpoint"] or "none",
                _handshake(peer["latest_handshake"], wall_clock),
                _busy(data_rate(received), received),
                _busy(data_rate(sent), sent),
                data_size(peer["rx_bytes"]),
                data_size(peer["tx_bytes"]),
                Cell(trend_of(self._trends[peer["public_key"]]), "green"),
            )
            rows.append(Row(cells, _sum(received, sent)))
        headers = ("peer", "endpoint", "handshake", "in", "out", "received", "sent", "trend")
        return Section(headers, rows, frozenset({2, 3, 4, 5, 6}))

    def _networks(self) -> Section:
        assert self._now is not None
        rows = []
        for network in self._now.node["networks"]:
            vni = network["vni"]
            received = self._rate(of_network(vni, "rx_frames"))
            sent = self._rate(of_network(vni, "tx_frames"))
            cells = (
                Cell(str(vni), "bold"),
                _ports(network),
                str(network["fdb_entries"]),
                _busy(event_rate(received), received),
                _busy(event_rate(sent), sent),
                str(network["rx_frames"]),
                str(network["tx_frames"]),
            )
            rows.append(Row(cells, _sum(received, sent)))
        headers = ("network", "ports", "FDB", "frames/s in", "frames/s out", "received", "sent")
        return Section(headers, rows, frozenset({2, 3, 4, 5, 6}))

    def _drops(self) -> Section:
        assert self._now is not None
        rows = []
        for reason, total in self._now.node["drops"].items():
            if total:
                growth = self._rate(of_drops(reason)) or 0.0
                name = Cell(reason, "bold red" if growth else "")
                cells = (name, _busy(event_rate(growth), growth, "bold red"), str(total))
                rows.append(Row(cells, growth + total * 1e-12))
        return Section(("drops", "a second", "in all"), rows, frozenset({1, 2}))


def trend_of(rates: Sequence[float]) -> str:
    """The last rates as a row of characters, the highest of them the darkest."""
    highest = max(rates, default=0.0)
    if not highest:
        return " " * len(rates)
    top = len(LEVELS) - 1
    # Whatever there is shows.
    return "".join(LEVELS[max(one > 0, round(one / highest * top))] for one in rates)


def _sum(*rates: float | None) -> float:
    return sum(one or 0.0 for one in rates)


def _busy(text: str, rate: float | None, style: str = "green") -> Cell:
    return Cell(text, style if rate else "dim")


def _ports(network: dict[str, Any]) -> Cell:
    blocked = quiet.blocked(network.get("quiet", {}))
    names = (one["name"] for one in network["attach"])
    told = ", ".join(f"{name} (blocked)" if name in blocked else name for name in names)
    return Cell(told or "none", "red" if blocked else "")


def _handshake(unix_seconds: int, wall_clock: float) -> Cell:
    if not unix_seconds:
        return Cell("never", "red")
    age = wall_clock - unix_seconds
    return Cell(ago(age), "green" if age < FRESH_HANDSHAKE else "yellow")


class ShowView:
    """Nodes, asked by `ask`, which may raise ControlError; they may stop and start meanwhile."""

    def __init__(
        self, ask: Callable[[], list[Node]], emit: Callable[[list[Node]], None] | None = None
    ) -> None:
        """``emit`` prints them in a pipe; left out: as text."""
        self._ask = ask
        self._emit = emit
        self._nodes: list[Node] = []
        self._watched: dict[str, Watched] = {}
        self._trouble: str | None = None

    def look(self) -> None:
        """Ask."""
        try:
            self._nodes, self._trouble = self._ask(), None
        except ControlError as error:
            self._nodes, self._trouble = [], str(error)
        if not self._nodes and self._trouble is None:
            self._trouble = "no node is running"
        now = time.monotonic()
        for node in self._nodes:
            self._watched.setdefault(node["name"], Watched()).see(node, now)

    def on_screen(self, height: int) -> RenderableType:
        """As tables, and what to press."""
        from rich.console import Group
        from rich.text import Text

        last = Text(f"{time.strftime('%H:%M:%S')}  q: leave", style="dim")
        return Group(board.on_screen(self._boards(), height - 1), last)

    def in_a_pipe(self) -> None:
        """The same as text, or for programs."""
        if self._emit is not None:
            self._emit(self._nodes)
        else:
            board.in_a_pipe(self._boards())

    def _boards(self) -> Iterator[Board]:
        if self._trouble is not None:
            yield Board([Cell(f"waiting: {self._trouble}", "yellow")], [])
        for node in self._nodes:
            yield self._watched[node["name"]].board(time.time())

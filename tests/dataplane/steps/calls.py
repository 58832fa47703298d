"""Steps that are one call upon both data planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.dataplane.steps.step import pick
from tests.dataplane.twins import Twins, elsewhere


@dataclass(frozen=True)
class Tell:
    """A call that names a peer and needs no more."""

    name: str
    peer: int
    arguments: tuple[Any, ...] = ()
    timed: bool = False

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is None:
            return
        if self.name == "send_staged":
            twins.both("send_staged", number, twins.now, or_keepalive=self.arguments[0])
        else:
            time = (twins.now,) if self.timed else ()
            twins.both(self.name, number, *self.arguments, *time)


@dataclass(frozen=True)
class Place:
    """A peer's endpoint is set, to somewhere or nowhere; or a handshake is heard from there."""

    name: str
    peer: int
    how: int

    def run(self, twins: Twins) -> None:
        number = pick(self.peer, twins.peers)
        if number is None:
            return
        endpoint = twins.peers[number].endpoint
        if self.how != 9:
            endpoint = elsewhere(endpoint, self.how)
        if self.name == "received_handshake":
            twins.both(self.name, number, endpoint, 148, twins.now)
        elif self.name == "reply":
            twins.both(self.name, endpoint, bytes(64))
        else:
            twins.both(self.name, number, None if self.how == 0 else endpoint)


@dataclass(frozen=True)
class Say:
    """A call that is the node's."""

    name: str
    arguments: tuple[Any, ...] = ()

    def run(self, twins: Twins) -> None:
        twins.both(self.name, *self.arguments)

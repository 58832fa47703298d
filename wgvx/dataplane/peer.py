"""What the data plane keeps of a peer: all that a packet of it changes."""

from __future__ import annotations

from collections import deque

from wgvx.wireguard.constants import MAX_STAGED_PACKETS
from wgvx.wireguard.keypair import KeySlots
from wgvx.wireguard.sessions import Endpoint, Event, Stamps

_NOTHING = Event(0)


class PeerState:
    """Key slots, endpoint, staged packets, counters and the four stamps."""

    __slots__ = (
        "_staged",
        "armed",
        "endpoint",
        "first_unanswered_rx",
        "first_unanswered_tx",
        "id",
        "last_rx",
        "last_tx",
        "more_unanswered_rx",
        "refused",
        "refused_on_any",
        "rx_bytes",
        "slots",
        "tx_bytes",
    )

    def __init__(self, peer: int) -> None:
        self.id = peer
        self.slots = KeySlots()
        self.endpoint: Endpoint | None = None
        self.refused: Endpoint | None = None
        """With our address and interface as they were given up: not learned again."""
        self.refused_on_any = False
        """Nothing was sent since: that peer cannot know yet, whatever interface it is heard on."""
        self._staged: deque[bytes] = deque()
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.last_tx = 0
        self.last_rx = 0
        self.first_unanswered_tx = 0
        self.first_unanswered_rx = 0
        self.more_unanswered_rx = False
        self.armed = Event(0)
        """Of ARM_TX and ARM_RX: told, and not yet let go by the timer."""

    def heard(self, endpoint: Endpoint, length: int, now: int) -> bool:
        """Something authenticated arrived from ``endpoint``; True when the peer moved."""
        self.rx_bytes += length
        self.last_rx = now
        self.first_unanswered_tx = 0
        if self._is_at(endpoint):
            return False
        if self._refuses(endpoint):
            endpoint = endpoint._replace(local=b"", interface=0)
        moved = self.endpoint is None or endpoint.remote() != self.endpoint.remote()
        self.endpoint = endpoint
        return moved

    def _is_at(self, endpoint: Endpoint) -> bool:
        """The interface is that of the first packet: a later one on another follows a change of
        routes, which :meth:`give_up_local_address` is to find.
        """
        here = self.endpoint
        return here is not None and (
            endpoint == here or endpoint.but_for_interface() == here.but_for_interface()
        )

    def _refuses(self, endpoint: Endpoint) -> bool:
        refused = self.refused
        return (
            refused is not None
            and (endpoint.ip, endpoint.local) == (refused.ip, refused.local)
            and (self.refused_on_any or endpoint.interface == refused.interface)
        )

    def sent(self, length: int, now: int) -> None:
        """Something authenticated left."""
        self.refused_on_any = False
        self.tx_bytes += length
        self.last_tx = now
        self.first_unanswered_rx = 0
        self.more_unanswered_rx = False

    def data_received(self, now: int) -> Event:
        """Data, no keepalive, arrived and awaits something to go back."""
        if self.first_unanswered_rx:
            self.more_unanswered_rx = True
            return _NOTHING
        self.first_unanswered_rx = now
        return self._arm(Event.ARM_RX)

    def data_sent(self, now: int) -> Event:
        """Data, no keepalive, left and awaits something to come back."""
        if self.first_unanswered_tx:
            return _NOTHING
        self.first_unanswered_tx = now
        return self._arm(Event.ARM_TX)

    def _arm(self, event: Event) -> Event:
        if event in self.armed:
            return _NOTHING
        self.armed |= event
        return event

    def disarm(self, events: Event) -> None:
        """Forget what awaited an answer; the next that does is told again."""
        self.armed &= ~events
        if events & Event.ARM_TX:
            self.first_unanswered_tx = 0
        if events & Event.ARM_RX:
            self.first_unanswered_rx = 0
            self.more_unanswered_rx = False

    def stage(self, packet: bytes) -> bool:
        """Keep a packet until there is a key; True when the oldest had to go for it."""
        full = len(self._staged) >= MAX_STAGED_PACKETS
        if full:
            self._staged.popleft()
        self._staged.append(packet)
        return full

    def unstage(self) -> list[bytes]:
        """All staged packets, oldest first; none is left."""
        packets = list(self._staged)
        self._staged.clear()
        return packets

    def forget_local_address(self) -> None:
        """Leave the choice of our own address to the routing table."""
        if self.endpoint is not None:
            self.endpoint = self.endpoint._replace(local=b"", interface=0)

    def give_up_local_address(self, endpoint: Endpoint) -> None:
        """The way to the peer is another one than ``endpoint`` was heard on."""
        if self._is_at(endpoint):
            self.forget_local_address()
            self.refused = endpoint
            self.refused_on_any = True

    def allow_local_address(self) -> None:
        """It is the way again."""
        self.refused = None

    def stamps(self) -> Stamps:
        """The four stamps as the timers read them."""
        return Stamps(
            self.last_tx,
            self.last_rx,
            self.first_unanswered_tx,
            self.first_unanswered_rx,
            self.more_unanswered_rx,
        )

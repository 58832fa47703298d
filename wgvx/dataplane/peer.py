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
        "rx_bytes",
        "slots",
        "tx_bytes",
    )

    def __init__(self, peer: int) -> None:
        self.id = peer
        self.slots = KeySlots()
        self.endpoint: Endpoint | None = None
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
        if endpoint == self.endpoint:
            return False
        moved = self.endpoint is None or endpoint.remote() != self.endpoint.remote()
        self.endpoint = endpoint
        return moved

    def sent(self, length: int, now: int) -> None:
        """Something authenticated left."""
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

    def stamps(self) -> Stamps:
        """The four stamps as the timers read them."""
        return Stamps(
            self.last_tx,
            self.last_rx,
            self.first_unanswered_tx,
            self.first_unanswered_rx,
            self.more_unanswered_rx,
        )

"""A data plane that notes how old keys are when packets open under them."""

from __future__ import annotations

from collections.abc import Sequence

from wgvx.dataplane.interface import Burst, Datagram
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.wireguard import messages
from wgvx.wireguard.noise import TransportKeys

REJECT_AFTER_TIME = 180_000_000_000
"""Nanoseconds: the paper's, written down once more."""


class KeyWatch(ReferenceDataPlane):
    """Watches from outside: a packet opened where its peer's received bytes grew.

    So it does not take the data plane's own word for a key's age. An old key fails any test.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sessions = 0
        """Sessions installed so far."""
        self.oldest_opened = 0
        """The greatest age, in nanoseconds, of a key at a moment when a packet opened under it."""
        self._born: dict[int, tuple[int, int]] = {}
        """Local index to (peer, birth)."""

    def install(
        self,
        peer: int,
        *,
        local_index: int,
        remote_index: int,
        keys: TransportKeys,
        initiator: bool,
        now: int,
    ) -> None:
        super().install(
            peer,
            local_index=local_index,
            remote_index=remote_index,
            keys=keys,
            initiator=initiator,
            now=now,
        )
        self.sessions += 1
        self._born[local_index] = (peer, now)

    def receive(self, datagrams: Sequence[Datagram], now: int) -> Burst:
        burst = Burst()
        for datagram in datagrams:
            born = None
            if messages.message_type(datagram.data) == messages.TRANSPORT:
                born = self._born.get(messages.receiver_index(datagram.data))
            if born is None:
                burst = super().receive([datagram], now)
                continue
            peer, birth = born
            before = self.peer_counters(peer).rx_bytes
            burst = super().receive([datagram], now)
            if self.peer_counters(peer).rx_bytes > before:
                self.oldest_opened = max(self.oldest_opened, now - birth)
                assert now - birth < REJECT_AFTER_TIME, "opened under a key too old"
        return burst

"""What the handshake side remembers of a peer."""

from __future__ import annotations

from wgvx.wireguard.cookie import CookieHolder
from wgvx.wireguard.deadlines import Deadlines
from wgvx.wireguard.noise import NO_PRESHARED_KEY, Handshake

NEVER_HEARD = bytes(12)


class Peer:
    """A peer's keys, its handshake in flight, and when things last happened.

    ``id`` is the small integer by which the data plane knows the peer; it is never used again.
    """

    def __init__(self, peer_id: int, public_key: bytes, preshared_key: bytes | None) -> None:
        self.id = peer_id
        self.public_key = public_key
        self.preshared_key = preshared_key or NO_PRESHARED_KEY
        self.cookie = CookieHolder(public_key)
        self.initiated: Handshake | None = None
        """The initiation we sent and that waits for its response."""
        self.greatest_timestamp = NEVER_HEARD
        self.last_initiation_accepted: int | None = None
        self.last_handshake_sent: int | None = None
        self.latest_handshake = 0
        """Unix nanoseconds of the last completed handshake, 0 for never."""
        self.deadlines = Deadlines()

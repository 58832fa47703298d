"""What the handshake side and the packet side of WireGuard say to each other.

The data plane owns sessions: key slots, counters, endpoints, staged packets, stamps. The
:class:`~wgvx.wireguard.device.Device` owns handshakes and deadlines. Downwards it calls
:class:`Sessions`; upwards it is told :class:`Event` and :class:`HandshakeMessage`.
"""

from __future__ import annotations

from enum import Enum, IntFlag, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wgvx.drops import Reason

if TYPE_CHECKING:  # It brings the libraries, and not everyone here encrypts.
    from wgvx.wireguard.noise import TransportKeys


class Endpoint(NamedTuple):
    """Where a peer is on the underlay, and from which of our addresses it is answered.

    ``ip`` and ``local`` are packed, 4 or 16 bytes; ``local`` is empty until a packet told which of
    our addresses the peer uses. ``scope`` is an IPv6 zone index, ``interface`` the index of the one
    that an IPv4 packet came in on, 0 where that is not known.
    """

    ip: bytes
    port: int
    scope: int = 0
    local: bytes = b""
    interface: int = 0

    def remote(self) -> tuple[bytes, int, int]:
        """The far end alone."""
        return self.ip, self.port, self.scope

    def but_for_interface(self) -> tuple[bytes, int, int, bytes]:
        """Both ends, on whatever interface."""
        return self[:4]


class HandshakeMessage(NamedTuple):
    """A handshake or cookie message of valid type, length, receiver index and mac1, waiting to be
    served.
    """

    data: bytes
    endpoint: Endpoint


class CookieDemand(NamedTuple):
    """We are under load: whoever has no valid mac2 gets a cookie, and is not handed up."""

    secret: bytes
    """32 bytes, R of section 5.4.7: cookies are made with it."""
    nonce_key: bytes
    """32 bytes, from which the nonces of cookie replies are drawn."""
    until: int
    """When the demand ends by itself, in nanoseconds."""


class HandshakeKeys(NamedTuple):
    """What decrypts a recording of a handshake and of the session it makes; 32 bytes each."""

    static_private: bytes
    remote_static: bytes
    ephemeral_private: bytes
    """Ours, drawn for this handshake."""
    preshared_key: bytes


class Event(IntFlag):
    """What a burst asks of the handshake side, per peer."""

    NEED_HANDSHAKE = auto()
    """There is no sending key, or one too old or too much used for its role."""
    CONFIRMED = auto()
    """The first packet under ``next`` authenticated: the responder's handshake is complete."""
    ROAMED = auto()
    """The peer's endpoint moved."""
    ARM_TX = auto()
    """``first_unanswered_tx`` left 0 while its timer was not armed."""
    ARM_RX = auto()
    """``first_unanswered_rx`` left 0 while its timer was not armed."""


class News(Enum):
    """What people are told of a peer's handshakes."""

    COMPLETED = auto()
    SILENT = auto()
    """Three initiations in a row went unanswered."""
    HEARD_AGAIN = auto()
    """Completed, after it was silent."""


class Stamps(NamedTuple):
    """When a peer was last heard and spoken to, in nanoseconds; 0 is never."""

    last_tx: int
    last_rx: int
    first_unanswered_tx: int
    """Set if 0 by data sent, cleared by any authenticated packet received."""
    first_unanswered_rx: int
    """Set if 0 by data received, cleared by anything sent."""
    more_unanswered_rx: bool
    """More data was received since ``first_unanswered_rx``."""


class Sessions(Protocol):
    """The part of the data plane that handshakes and timers work on. Peers are small integers."""

    def index_peer(self, index: int) -> int | None:
        """The peer that owns the session with this receiver index."""

    def open_handshake(self, index: int) -> None:
        """We sent an initiation with this sender index: an answer to it may come."""

    def close_handshake(self, index: int) -> None:
        """No answer to it is awaited any more."""

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
        """A new session: into ``current`` for the initiator, into ``next`` for the responder."""

    def has_endpoint(self, peer: int) -> bool:
        """Whether anything can be sent to this peer."""

    def forget_local_address(self, peer: int) -> None:
        """Let the routing table choose our address again: the path by the known one is silent."""

    def received_handshake(self, peer: int, endpoint: Endpoint, length: int, now: int) -> None:
        """A handshake message of ``length`` bytes authenticated: roam, count, stamp."""

    def send_handshake(self, peer: int, message: bytes, now: int) -> None:
        """Send to the peer's endpoint, count, stamp."""

    def reply(self, endpoint: Endpoint, message: bytes) -> None:
        """Send to somebody who has proven nothing (a cookie reply)."""

    def demand_cookies(self, demand: CookieDemand) -> None:
        """Let messages 1 and 2 come up only with a valid mac2, for a while."""

    def send_staged(self, peer: int, now: int, *, or_keepalive: bool) -> bool:
        """Send what is staged; with ``or_keepalive`` a keepalive where nothing was.

        False when there is no key to send under: then all stays staged.
        """

    def drop_staged(self, peer: int, reason: Reason) -> None:
        """Give up what is staged."""

    def forget_keys(self, peer: int) -> None:
        """Zeroise all sessions of a peer."""

    def expire_sending_keys(self) -> None:
        """Let no session of any peer send any more: our private key changed."""

    def stamps(self, peer: int) -> Stamps:
        """The peer's four stamps."""

    def disarm(self, peer: int, events: Event) -> None:
        """The silence was acted upon, or is over: the stamp of ARM_TX or ARM_RX is 0 again, and
        the event is told again when it next leaves 0.
        """

    def count(self, reason: Reason) -> None:
        """Count one drop."""

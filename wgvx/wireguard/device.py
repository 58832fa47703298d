"""The handshake side of a WireGuard node: who is who, and when keys are made.

The way of a handshake message, top to bottom: :meth:`Device.handle` -> load and cookies -> one of
``_initiation``, ``_response``, ``_cookie_reply`` -> the session is installed into the data plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wgvx.drops import Drop, Reason
from wgvx.wireguard import messages, noise
from wgvx.wireguard.constants import INITIATION_INTERVAL, REKEY_TIMEOUT, SECOND
from wgvx.wireguard.cookie import CookieIssuer
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.limiter import HandshakeLimiter
from wgvx.wireguard.peer import Peer
from wgvx.wireguard.sessions import Event, HandshakeKeys, HandshakeMessage, News, Sessions
from wgvx.wireguard.tai64n import TimestampSource
from wgvx.wireguard.timers import Timers


class Device:
    """Handshakes and timers of one node with all its peers.

    ``random(n)`` gives n random bytes, ``wall_clock()`` Unix nanoseconds; ``key_log``, if there is
    one, is told every handshake's keys. Every ``now`` is monotonic nanoseconds. Nothing here raises
    because of what came from the network.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        private_key: bytes | None,
        timestamps: TimestampSource,
        random: Callable[[int], bytes],
        wall_clock: Callable[[], int],
        key_log: Callable[[HandshakeKeys], None] | None = None,
    ) -> None:
        self._sessions = sessions
        self._random = random
        self._wall_clock = wall_clock
        self._timestamps = timestamps
        self.key_log = key_log
        self._limiter = HandshakeLimiter()
        self._timers = Timers(sessions, random, self._initiate, self._forget_initiation)
        self._peers: dict[int, Peer] = {}
        self._by_key: dict[bytes, Peer] = {}
        self._initiated: dict[int, Peer] = {}
        """Sender index of an initiation in flight to the peer it was sent to."""
        self._set_key(private_key)

    # --- configuration -----------------------------------------------------------------------

    def _set_key(self, private_key: bytes | None) -> None:
        self.private_key = private_key
        self.public_key = dh_public(private_key) if private_key else None
        self._cookies = CookieIssuer(self.public_key or bytes(32), self._random)

    def set_private_key(self, private_key: bytes | None, now: int) -> None:
        """Change who we are. Running sessions receive on, but send no more: "a new handshake" is
        due with the next packet, and may start at once. The key that we have changes nothing.
        """
        if private_key == self.private_key:
            return
        self._set_key(private_key)
        self._sessions.expire_sending_keys()
        for peer in self._peers.values():
            self._forget_initiation(peer)
            peer.last_handshake_sent = None
            if peer.deadlines.persistent_keepalive:
                self._initiate(peer, now, False)

    def add_peer(self, peer_id: int, public_key: bytes, preshared_key: bytes | None) -> None:
        """Begin to know a peer. Its public key is new and not our own."""
        peer = Peer(peer_id, public_key, preshared_key)
        self._peers[peer_id] = peer
        self._by_key[public_key] = peer
        self._timers.add_peer(peer)

    def remove_peer(self, peer_id: int) -> None:
        """Forget a peer."""
        peer = self._peers.pop(peer_id)
        del self._by_key[peer.public_key]
        self._forget_initiation(peer)
        self._timers.remove_peer(peer)

    def set_preshared_key(self, peer_id: int, preshared_key: bytes | None) -> None:
        """Takes effect with the next handshake message."""
        self._peers[peer_id].preshared_key = preshared_key or noise.NO_PRESHARED_KEY

    def preshared_key(self, peer_id: int) -> bytes:
        """32 bytes, all zero for none."""
        return self._peers[peer_id].preshared_key

    def set_persistent_keepalive(self, peer_id: int, seconds: int, now: int) -> None:
        """0 for off. Turning it on handshakes at once."""
        self._timers.set_persistent_keepalive(self._peers[peer_id], seconds * SECOND, now)

    def persistent_keepalive(self, peer_id: int) -> int:
        """Seconds, 0 for off."""
        return self._peers[peer_id].deadlines.persistent_keepalive // SECOND

    def latest_handshake(self, peer_id: int) -> int:
        """Unix nanoseconds, 0 for never."""
        return self._peers[peer_id].latest_handshake

    def demand_cookies(self, until: int, now: int) -> None:
        """We are under load until then: let the data plane refuse what has no mac2."""
        self._sessions.demand_cookies(self._cookies.demand(until, now))

    # --- the clock and the data plane --------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When :meth:`expire` is next worth calling."""
        return self._timers.next_deadline()

    def expire(self, now: int) -> None:
        """Act on all timers due."""
        self._timers.expire(now)

    def take_unreachable(self) -> set[int]:
        """Peers whose handshakes fail since the last call."""
        return self._timers.take_unreachable()

    def take_news(self) -> list[tuple[int, News]]:
        """What happened to peers' handshakes since the last call."""
        return self._timers.take_news()

    def on_events(self, events: Mapping[int, Event], now: int) -> None:
        """What a burst asked for, peer by peer."""
        for peer_id, event in events.items():
            peer = self._peers.get(peer_id)
            if peer is None:
                continue
            if event & Event.CONFIRMED:
                # An initiation of ours that crossed the peer's is settled with it: a response that
                # somebody held back must not replace this session later.
                self._forget_initiation(peer)
                self._handshake_complete(peer)
            if event & (Event.ARM_TX | Event.ARM_RX):
                self._timers.stamps_left_zero(peer, event, now)
            if event & Event.NEED_HANDSHAKE:
                self._initiate(peer, now, False)

    # --- sending -----------------------------------------------------------------------------

    def initiate(self, peer_id: int, now: int) -> None:
        """Ask for a handshake with a peer; one is sent at most every REKEY-TIMEOUT."""
        self._initiate(self._peers[peer_id], now, False)

    def _initiate(self, peer: Peer, now: int, retry: bool) -> None:
        """ "Under no circumstances will WireGuard send an initiation message more than once every
        REKEY-TIMEOUT" (section 6.4). What asks anew, unlike a retry, also asks for 90 more seconds.
        """
        if not retry:
            peer.deadlines.attempts = 0
        if self.private_key is None or self.public_key is None:
            return
        if not self._sessions.has_endpoint(peer.id):
            return
        if peer.last_handshake_sent is not None and now - peer.last_handshake_sent < REKEY_TIMEOUT:
            return
        peer.last_handshake_sent = now
        self._forget_initiation(peer)
        index = self._new_index()
        ephemeral = self._new_ephemeral(self.private_key, peer)
        try:
            handshake, message = noise.create_initiation(
                static_private=self.private_key,
                static_public=self.public_key,
                remote_static=peer.public_key,
                ephemeral_private=ephemeral,
                sender_index=index,
                timestamp=self._timestamps.next(self._wall_clock()),
            )
        except Drop:
            return  # A public key of low order: such a peer is never sent anything.
        peer.initiated = handshake
        self._initiated[index] = peer
        self._sessions.open_handshake(index)
        self._sessions.send_handshake(peer.id, peer.cookie.add_macs(message.pack(), now), now)
        self._timers.initiation_sent(peer, now)

    def _new_ephemeral(self, private_key: bytes, peer: Peer) -> bytes:
        ephemeral = self._random(32)
        if self.key_log is not None:
            self.key_log(HandshakeKeys(private_key, peer.public_key, ephemeral, peer.preshared_key))
        return ephemeral

    def _new_index(self) -> int:
        """A random 32-bit index that names neither a handshake nor a session of ours."""
        while True:
            index = int.from_bytes(self._random(4), "little")
            if index not in self._initiated and self._sessions.index_peer(index) is None:
                return index

    def _forget_initiation(self, peer: Peer) -> None:
        if peer.initiated is not None:
            self._initiated.pop(peer.initiated.local_index, None)
            self._sessions.close_handshake(peer.initiated.local_index)
            peer.initiated = None

    # --- receiving ---------------------------------------------------------------------------

    def handle(self, message: HandshakeMessage, now: int, *, under_load: bool) -> None:
        """Serve one message whose type, length and mac1 were found right."""
        try:
            kind = messages.message_type(message.data)
            if kind == messages.COOKIE_REPLY:
                self._cookie_reply(message, now)
                return
            if under_load:
                self._demand_cookie(message, now)
            if kind == messages.INITIATION:
                self._initiation(message, now)
            else:
                self._response(message, now)
        except Drop as drop:
            self._sessions.count(drop.reason)

    def _demand_cookie(self, message: HandshakeMessage, now: int) -> None:
        """ "If it is under load [...] the responder may require mac2", and answers a message
        without it with a cookie reply (section 5.4.7).
        """
        if not self._cookies.mac2_valid(message.data, message.endpoint, now):
            reply = self._cookies.reply(message.data, message.endpoint, now)
            self._sessions.reply(message.endpoint, reply.pack())
            raise Drop(Reason.BAD_MAC2)
        if not self._limiter.allow(message.endpoint.ip, now):
            raise Drop(Reason.HANDSHAKE_RATE)

    def _initiation(self, message: HandshakeMessage, now: int) -> None:
        if self.private_key is None or self.public_key is None:
            raise Drop(Reason.HANDSHAKE_FAILED)
        received = noise.consume_initiation(
            messages.Initiation.parse(message.data),
            static_private=self.private_key,
            static_public=self.public_key,
        )
        peer = self._by_key.get(received.remote_static)
        if peer is None:
            raise Drop(Reason.HANDSHAKE_FAILED)
        timestamp = received.open_timestamp(self.private_key)
        # "discards packets containing timestamps less than or equal to it" (section 5.1)
        if timestamp <= peer.greatest_timestamp:
            raise Drop(Reason.HANDSHAKE_REPLAY)
        if (
            peer.last_initiation_accepted is not None
            and now - peer.last_initiation_accepted < INITIATION_INTERVAL
        ):
            raise Drop(Reason.HANDSHAKE_RATE)
        index = self._new_index()
        response, keys = noise.create_response(
            received.handshake,
            remote_static=peer.public_key,
            preshared_key=peer.preshared_key,
            ephemeral_private=self._new_ephemeral(self.private_key, peer),
            sender_index=index,
        )
        peer.greatest_timestamp = timestamp
        peer.last_initiation_accepted = now
        peer.last_handshake_sent = now
        self._sessions.received_handshake(peer.id, message.endpoint, len(message.data), now)
        self._sessions.install(
            peer.id,
            local_index=index,
            remote_index=response.receiver_index,
            keys=keys,
            initiator=False,
            now=now,
        )
        self._sessions.send_handshake(peer.id, peer.cookie.add_macs(response.pack(), now), now)
        self._timers.session_derived(peer, now)

    def _response(self, message: HandshakeMessage, now: int) -> None:
        response = messages.Response.parse(message.data)
        peer = self._initiated.get(response.receiver_index)
        if peer is None or peer.initiated is None or self.private_key is None:
            raise Drop(Reason.UNKNOWN_INDEX)
        keys = noise.consume_response(
            peer.initiated,
            response,
            static_private=self.private_key,
            preshared_key=peer.preshared_key,
        )
        self._forget_initiation(peer)
        self._sessions.received_handshake(peer.id, message.endpoint, len(message.data), now)
        self._sessions.install(
            peer.id,
            local_index=response.receiver_index,
            remote_index=response.sender_index,
            keys=keys,
            initiator=True,
            now=now,
        )
        self._timers.session_derived(peer, now)
        self._handshake_complete(peer)
        # The responder waits for a packet under the new key: it gets one at once.
        self._sessions.send_staged(peer.id, now, or_keepalive=True)

    def _cookie_reply(self, message: HandshakeMessage, now: int) -> None:
        reply = messages.CookieReply.parse(message.data)
        peer = self._initiated.get(reply.receiver_index)
        if peer is None:
            owner = self._sessions.index_peer(reply.receiver_index)
            if owner is None:
                raise Drop(Reason.UNKNOWN_INDEX)
            peer = self._peers[owner]
        peer.cookie.consume(reply, now)

    def _handshake_complete(self, peer: Peer) -> None:
        peer.latest_handshake = self._wall_clock()
        self._timers.handshake_complete(peer)

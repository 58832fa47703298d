"""The timers of section 6 of the paper, as deadlines that are looked at when they fall due.

Each is armed by an event and reads the data plane's stamps when it fires: packets themselves never
touch a timer. The sentence of the paper that a timer implements stands above it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from wgvx.drops import Reason
from wgvx.wireguard.constants import (
    KEEPALIVE_TIMEOUT,
    MAX_HANDSHAKE_ATTEMPTS,
    NEW_HANDSHAKE_AFTER,
    NEWS_KEPT,
    REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER,
    SILENT_AFTER,
    ZERO_KEYS_AFTER,
)
from wgvx.wireguard.deadlines import Timer
from wgvx.wireguard.peer import Peer
from wgvx.wireguard.sessions import Event, News, Sessions


class Timers:
    """The deadlines of all peers in one heap.

    ``initiate(peer, now, retry)`` starts a handshake and ``forget_initiation(peer)`` gives one up;
    ``random(n)`` gives n random bytes.
    """

    def __init__(
        self,
        sessions: Sessions,
        random: Callable[[int], bytes],
        initiate: Callable[[Peer, int, bool], None],
        forget_initiation: Callable[[Peer], None],
    ) -> None:
        self._sessions = sessions
        self._random = random
        self._initiate = initiate
        self._forget_initiation = forget_initiation
        self._heap: list[tuple[int, int, Timer]] = []
        self._peers: dict[int, Peer] = {}
        self._unreachable: set[int] = set()
        self._news: deque[tuple[int, News]] = deque(maxlen=NEWS_KEPT)
        self._fire: dict[Timer, Callable[[Peer, int], None]] = {
            Timer.RETRY_HANDSHAKE: self._retry_handshake,
            Timer.NEW_HANDSHAKE: self._new_handshake,
            Timer.SEND_KEEPALIVE: self._send_keepalive,
            Timer.PERSISTENT_KEEPALIVE: self._persistent_keepalive,
            Timer.ZERO_KEYS: self._zero_keys,
        }

    # --- the clock ---------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """When :meth:`expire` is next worth calling."""
        while self._heap:
            when, peer_id, timer = self._heap[0]
            peer = self._peers.get(peer_id)
            if peer is not None and peer.deadlines.queued.get(timer) == when:
                if peer.deadlines.due.get(timer) == when:
                    return when
                del peer.deadlines.queued[timer]
                if timer in peer.deadlines.due:  # Put off.
                    self._queue(peer, timer, peer.deadlines.due[timer])
            heapq.heappop(self._heap)
        return None

    def expire(self, now: int) -> None:
        """Act on all deadlines up to ``now``."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, peer_id, timer = heapq.heappop(self._heap)
            peer = self._peers[peer_id]
            del peer.deadlines.due[timer]
            del peer.deadlines.queued[timer]
            self._fire[timer](peer, now)

    def take_unreachable(self) -> set[int]:
        """Peers whose handshakes went unanswered since the last call: look their names up again."""
        unreachable, self._unreachable = self._unreachable, set()
        return unreachable

    def take_news(self) -> list[tuple[int, News]]:
        """What happened to peers' handshakes since the last call."""
        news = list(self._news)
        self._news.clear()
        return news

    def _arm(self, peer: Peer, timer: Timer, deadline: int) -> None:
        """A deadline that is put off queues nothing new, so that the queue cannot be made to grow:
        it is found put off when the queue comes to it.
        """
        peer.deadlines.due[timer] = deadline
        queued = peer.deadlines.queued.get(timer)
        if queued is None or deadline < queued:
            self._queue(peer, timer, deadline)

    def _queue(self, peer: Peer, timer: Timer, when: int) -> None:
        peer.deadlines.queued[timer] = when
        heapq.heappush(self._heap, (when, peer.id, timer))

    def _arm_if_idle(self, peer: Peer, timer: Timer, deadline: int) -> None:
        if timer not in peer.deadlines.due:
            self._arm(peer, timer, deadline)

    def _jitter(self) -> int:
        return int.from_bytes(self._random(4), "little") % (REKEY_TIMEOUT_JITTER + 1)

    # --- what arms a timer -------------------------------------------------------------------

    def add_peer(self, peer: Peer) -> None:
        """Begin to keep a peer's timers."""
        self._peers[peer.id] = peer

    def remove_peer(self, peer: Peer) -> None:
        """Forget a peer's timers."""
        del self._peers[peer.id]
        self._unreachable.discard(peer.id)

    def initiation_sent(self, peer: Peer, now: int) -> None:
        """ "a random amount of jitter between 0 and 333 milliseconds" is added to REKEY-TIMEOUT so
        that two peers that collide do not go on colliding (section 6.1).
        """
        self._arm(peer, Timer.RETRY_HANDSHAKE, now + REKEY_TIMEOUT + self._jitter())

    def session_derived(self, peer: Peer, now: int) -> None:
        """New keys exist on our side."""
        self._arm(peer, Timer.ZERO_KEYS, now + ZERO_KEYS_AFTER)

    def handshake_complete(self, peer: Peer) -> None:
        """Both sides have proven that they hold the new keys."""
        peer.deadlines.due.pop(Timer.RETRY_HANDSHAKE, None)
        peer.deadlines.attempts = 0
        self._unreachable.discard(peer.id)
        was_silent = peer.deadlines.unanswered >= SILENT_AFTER
        peer.deadlines.unanswered = 0
        self._news.append((peer.id, News.HEARD_AGAIN if was_silent else News.COMPLETED))

    def stamps_left_zero(self, peer: Peer, events: Event, now: int) -> None:
        """ARM_TX and ARM_RX: something went out, or came in, that awaits an answer."""
        if events & Event.ARM_TX:
            self._arm(peer, Timer.NEW_HANDSHAKE, now + NEW_HANDSHAKE_AFTER + self._jitter())
        if events & Event.ARM_RX:
            self._arm(peer, Timer.SEND_KEEPALIVE, now + KEEPALIVE_TIMEOUT)

    def set_persistent_keepalive(self, peer: Peer, interval: int, now: int) -> None:
        """Interval in nanoseconds, 0 for off. Turning it on speaks to the peer at once."""
        was_off = peer.deadlines.persistent_keepalive == 0
        peer.deadlines.persistent_keepalive = interval
        peer.deadlines.due.pop(Timer.PERSISTENT_KEEPALIVE, None)
        if interval:
            if was_off:
                peer.deadlines.persistent_keepalive_since = now
            self._arm(peer, Timer.PERSISTENT_KEEPALIVE, now if was_off else now + interval)

    # --- what a timer does -------------------------------------------------------------------

    def _retry_handshake(self, peer: Peer, now: int) -> None:
        """ "After initiating a handshake [...] if a response is not subsequently received after
        REKEY-TIMEOUT, try again" and "attempts are made for REKEY-ATTEMPT-TIME before giving up"
        (section 6.4).
        """
        self._unreachable.add(peer.id)
        peer.deadlines.unanswered += 1
        if peer.deadlines.unanswered == SILENT_AFTER:
            self._news.append((peer.id, News.SILENT))
        if peer.deadlines.attempts > MAX_HANDSHAKE_ATTEMPTS:
            peer.deadlines.due.pop(Timer.SEND_KEEPALIVE, None)
            self._sessions.disarm(peer.id, Event.ARM_RX)
            self._sessions.drop_staged(peer.id, Reason.HANDSHAKE_TIMEOUT)
            self._arm_if_idle(peer, Timer.ZERO_KEYS, now + ZERO_KEYS_AFTER)
            return
        peer.deadlines.attempts += 1
        self._sessions.forget_local_address(peer.id)
        self._initiate(peer, now, True)

    def _new_handshake(self, peer: Peer, now: int) -> None:
        """ "if a peer has sent data and has not received a transport data message back for
        (KEEPALIVE-TIMEOUT + REKEY-TIMEOUT) seconds, it initiates a new handshake" (section 6.5).
        Counted from the first data that was not answered.
        """
        since = self._sessions.stamps(peer.id).first_unanswered_tx
        if since == 0:
            self._sessions.disarm(peer.id, Event.ARM_TX)
        elif now < since + NEW_HANDSHAKE_AFTER:
            self._arm(peer, Timer.NEW_HANDSHAKE, since + NEW_HANDSHAKE_AFTER + self._jitter())
        else:
            self._sessions.disarm(peer.id, Event.ARM_TX)
            self._sessions.forget_local_address(peer.id)
            self._initiate(peer, now, False)

    def _send_keepalive(self, peer: Peer, now: int) -> None:
        """ "If a peer has received a validly-authenticated transport data message, but does not
        have any packets itself to send back for KEEPALIVE-TIMEOUT seconds, it sends a keepalive"
        (section 6.5). Where more data came in meanwhile, another follows, as in the kernel.
        """
        stamps = self._sessions.stamps(peer.id)
        sent_at = peer.deadlines.keepalive_sent_at
        peer.deadlines.keepalive_sent_at = None
        if sent_at is not None and stamps.last_tx == sent_at:
            more = stamps.first_unanswered_rx != 0
        elif stamps.first_unanswered_rx == 0:
            self._sessions.disarm(peer.id, Event.ARM_RX)
            return
        elif now < stamps.first_unanswered_rx + KEEPALIVE_TIMEOUT:
            deadline = stamps.first_unanswered_rx + KEEPALIVE_TIMEOUT
            self._arm(peer, Timer.SEND_KEEPALIVE, deadline)
            return
        else:
            more = stamps.more_unanswered_rx
        self._speak(peer, now)
        if more:
            peer.deadlines.keepalive_sent_at = now
            self._arm(peer, Timer.SEND_KEEPALIVE, now + KEEPALIVE_TIMEOUT)
        else:
            self._sessions.disarm(peer.id, Event.ARM_RX)

    def _persistent_keepalive(self, peer: Peer, now: int) -> None:
        """Anything authenticated, sent or received, puts the next one off by the interval, but
        for the one that is sent when it was turned on.
        """
        interval = peer.deadlines.persistent_keepalive
        stamps = self._sessions.stamps(peer.id)
        quiet_since = max(stamps.last_tx, stamps.last_rx)
        spoken = stamps.last_tx >= peer.deadlines.persistent_keepalive_since
        if spoken and now < quiet_since + interval:
            self._arm(peer, Timer.PERSISTENT_KEEPALIVE, quiet_since + interval)
            return
        self._speak(peer, now)
        self._arm(peer, Timer.PERSISTENT_KEEPALIVE, now + interval)

    def _zero_keys(self, peer: Peer, now: int) -> None:  # noqa: ARG002 - every timer's signature
        """ "After REJECT-AFTER-TIME * 3 seconds [...] all ephemeral secret keys, all symmetric
        session keys [are] zeroed out" (section 6.3).
        """
        self._forget_initiation(peer)
        self._sessions.forget_keys(peer.id)

    def _speak(self, peer: Peer, now: int) -> None:
        if not self._sessions.send_staged(peer.id, now, or_keepalive=True):
            self._initiate(peer, now, False)

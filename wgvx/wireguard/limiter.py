"""Handshakes per second and source while under load, as a token bucket.

Section 5.3 of the paper: under load, messages with a valid mac2 are "rate limited by IP address".
An IPv6 source is its /64, since a site hands out no less.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from wgvx.wireguard.constants import (
    HANDSHAKES_BURST,
    HANDSHAKES_PER_SECOND,
    LIMITER_SOURCES,
    SECOND,
)

_COST = SECOND // HANDSHAKES_PER_SECOND
_FULL = _COST * HANDSHAKES_BURST


class HandshakeLimiter:
    """20 per second, bursts of 5, for at most 65,536 sources at a time."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        """Source to (tokens in nanoseconds, when counted), oldest use first."""

    def allow(self, ip: bytes, now: int) -> bool:
        """Spend one token of a packed source address; False when it has none.

        A new source is refused while the table is full of others still in use.
        """
        source = ip if len(ip) == 4 else ip[:8]
        bucket = self._buckets.get(source)
        if bucket is None:
            self._forget_idle(now)
            if len(self._buckets) >= LIMITER_SOURCES:
                return False
            tokens = _FULL
        else:
            tokens, counted = bucket
            tokens = min(_FULL, tokens + now - counted)
        allowed = tokens >= _COST
        self._buckets[source] = (tokens - _COST if allowed else tokens, now)
        self._buckets.move_to_end(source)
        return allowed

    def _forget_idle(self, now: int) -> None:
        """A bucket unused for a second is full again, and so needs no memory.

        Two looked at for each one added keep the table clean.
        """
        for source, (_, counted) in list(islice(self._buckets.items(), 2)):
            if now - counted >= SECOND:
                del self._buckets[source]

    def __len__(self) -> int:
        return len(self._buckets)

"""Cookies: proof of address ownership while under load (WireGuard paper, section 5.4.7)."""

from __future__ import annotations

from collections.abc import Callable

from wgvx.drops import Drop, Reason
from wgvx.wireguard.constants import (
    COOKIE_LATENCY,
    COOKIE_SECRET_LIFETIME,
    LABEL_COOKIE,
    LABEL_MAC1,
)
from wgvx.wireguard.crypto import hash_, mac, same, xopen, xseal
from wgvx.wireguard.messages import CookieReply
from wgvx.wireguard.sessions import CookieDemand, Endpoint

MAC_LENGTH = 16
MACS_LENGTH = 2 * MAC_LENGTH
NO_MAC = bytes(MAC_LENGTH)


def mac1_key(public_key: bytes) -> bytes:
    """HASH(LABEL_MAC1 || S_pub): what a message to the owner of ``public_key`` is MACed under."""
    return hash_(LABEL_MAC1, public_key)


def cookie_key(public_key: bytes) -> bytes:
    """HASH(LABEL_COOKIE || S_pub): what that owner seals its cookies under."""
    return hash_(LABEL_COOKIE, public_key)


def mac1_valid(key: bytes, message: bytes) -> bool:
    """Whether the mac1 of a whole message 1 or 2 is right under ``mac1_key`` of our key."""
    return same(mac(key, message[:-MACS_LENGTH]), message[-MACS_LENGTH:-MAC_LENGTH])


def make_cookie(secret: bytes, source: Endpoint) -> bytes:
    """tau := MAC(R_m, A_m'): what proves that its bearer receives at ``source``."""
    return mac(secret, source.ip + source.port.to_bytes(2, "big"))


def mac2_valid(cookie: bytes, message: bytes) -> bool:
    """Whether a message bears this cookie."""
    mac2 = message[-MAC_LENGTH:]
    return mac2 != NO_MAC and same(mac(cookie, message[:-MAC_LENGTH]), mac2)


def make_reply(key: bytes, nonce: bytes, cookie: bytes, message: bytes) -> CookieReply:
    """Message 3, which answers a message 1 or 2 whose mac1 was right."""
    aad = message[-MACS_LENGTH:-MAC_LENGTH]
    sender_index = int.from_bytes(message[4:8], "little")
    return CookieReply(sender_index, nonce, xseal(key, nonce, cookie, aad))


def drawn_nonce(nonce_key: bytes, number: int) -> bytes:
    """The nonce of the ``number``-th reply: random to everybody who does not have the key, and
    never the same twice.
    """
    return mac(nonce_key, number.to_bytes(8, "little"), length=24)


class CookieIssuer:
    """The side under load: checks mac2, hands out cookies.

    ``random(n)`` returns n random bytes.
    """

    def __init__(self, public_key: bytes, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._key = cookie_key(public_key)
        self._secret = b""
        self._nonce_key = b""
        self._secret_birth = 0

    def mac2_valid(self, message: bytes, source: Endpoint, now: int) -> bool:
        """Whether mac2 proves that the sender receives at ``source``."""
        return mac2_valid(make_cookie(self._current(now), source), message)

    def reply(self, message: bytes, source: Endpoint, now: int) -> CookieReply:
        """Message 3, which answers a message whose mac1 was right."""
        cookie = make_cookie(self._current(now), source)
        return make_reply(self._key, self._random(24), cookie, message)

    def demand(self, until: int, now: int) -> CookieDemand:
        """What a data plane needs to do all this by itself for a while."""
        secret = self._current(now)
        return CookieDemand(secret, self._nonce_key, until)

    def _current(self, now: int) -> bytes:
        """R_m, the secret "changing every two minutes"."""
        if not self._secret or now - self._secret_birth >= COOKIE_SECRET_LIFETIME:
            self._secret = self._random(32)
            self._nonce_key = self._random(32)
            self._secret_birth = now
        return self._secret


class CookieHolder:
    """The side that is asked for a cookie: one per peer, adds mac1 and mac2 to what we send."""

    def __init__(self, remote_public_key: bytes) -> None:
        self._mac1_key = mac1_key(remote_public_key)
        self._cookie_key = cookie_key(remote_public_key)
        self._last_mac1: bytes | None = None
        self._cookie: bytes | None = None
        self._cookie_birth = 0

    def add_macs(self, message: bytes, now: int) -> bytes:
        """``message`` (its part before the macs) with mac1 and mac2."""
        mac1 = mac(self._mac1_key, message)
        self._last_mac1 = mac1
        message += mac1
        if (
            self._cookie is not None
            and now - self._cookie_birth < COOKIE_SECRET_LIFETIME - COOKIE_LATENCY
        ):
            return message + mac(self._cookie, message)
        return message + NO_MAC

    def consume(self, reply: CookieReply, now: int) -> None:
        """Remember a cookie; it goes out with the next timed retry, never at once.

        Raises Drop(handshake_failed) when it does not answer the last message we sent: "mac1 of
        the message that is being replied to" is the additional data.
        """
        if self._last_mac1 is None:
            raise Drop(Reason.HANDSHAKE_FAILED)
        self._cookie = xopen(self._cookie_key, reply.nonce, reply.encrypted_cookie, self._last_mac1)
        self._cookie_birth = now
        self._last_mac1 = None

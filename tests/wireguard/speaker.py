"""A WireGuard peer spoken by hand, message by message: it can say what an engine never would."""

from __future__ import annotations

import random

from tests.support.engines import Node, private_key
from wgvx.dataplane.interface import Datagram
from wgvx.wireguard import messages, noise
from wgvx.wireguard.cookie import CookieHolder, CookieIssuer
from wgvx.wireguard.crypto import dh_public
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.noise import NO_PRESHARED_KEY
from wgvx.wireguard.sessions import Endpoint
from wgvx.wireguard.tai64n import label

FLOODER = Endpoint(bytes([203, 0, 113, 5]), 5)


def flood(node: Node, count: int = 512) -> int:
    """So many initiations with a good mac1 and nothing behind it, as one burst.

    The number of answers, which are cookie replies.
    """
    junk = Speaker(99, node).initiation(node.wire.unix_now())
    burst = node.engine.receive([Datagram(junk, FLOODER)] * count, node.wire.now)
    assert all(d.data[0] == messages.COOKIE_REPLY for d in burst.datagrams)
    return len(burst.datagrams)


class Speaker:
    """Node ``number``'s identity, towards one node."""

    def __init__(self, number: int, towards: Node, *, preshared_key: bytes | None = None) -> None:
        self.private = private_key(number)
        self.public = dh_public(self.private)
        self.remote = towards.public_key
        self.preshared_key = preshared_key or NO_PRESHARED_KEY
        self.random = random.Random(number)
        self.cookie = CookieHolder(self.remote)
        self.issuer = CookieIssuer(self.public, self.random.randbytes)
        self.handshake: noise.Handshake | None = None
        self.session: Keypair | None = None

    def initiation(self, unix_ns: int, *, now: int = 1, stamp: bytes | None = None) -> bytes:
        """Message 1 with the label of that time, or with ``stamp`` itself."""
        self.handshake, message = noise.create_initiation(
            static_private=self.private,
            static_public=self.public,
            remote_static=self.remote,
            ephemeral_private=self.random.randbytes(32),
            sender_index=self.random.getrandbits(32),
            timestamp=label(unix_ns) if stamp is None else stamp,
        )
        return self.cookie.add_macs(message.pack(), now)

    def answered(self, response: bytes, now: int) -> Keypair:
        """Take in message 2; the session that follows."""
        assert self.handshake is not None
        message = messages.Response.parse(response)
        keys = noise.consume_response(
            self.handshake,
            message,
            static_private=self.private,
            preshared_key=self.preshared_key,
        )
        index = self.handshake.local_index
        self.session = Keypair(0, index, message.sender_index, keys, True, now)
        return self.session

    def answer(self, initiation: bytes, now: int) -> bytes:
        """Message 2 to a message 1; the session is then :attr:`session`."""
        message = messages.Initiation.parse(initiation)
        received = noise.consume_initiation(
            message, static_private=self.private, static_public=self.public
        )
        received.open_timestamp(self.private)
        index = self.random.getrandbits(32)
        response, keys = noise.create_response(
            received.handshake,
            remote_static=received.remote_static,
            preshared_key=self.preshared_key,
            ephemeral_private=self.random.randbytes(32),
            sender_index=index,
        )
        self.session = Keypair(0, index, message.sender_index, keys, False, now)
        return self.cookie.add_macs(response.pack(), now)

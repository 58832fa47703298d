"""mac1, mac2 and cookies, without a device around them."""

from __future__ import annotations

import random

import pytest

from wgvx.drops import Drop, Reason
from wgvx.wireguard.cookie import CookieHolder, CookieIssuer, mac1_key, mac1_valid
from wgvx.wireguard.messages import CookieReply
from wgvx.wireguard.sessions import Endpoint

SECOND = 10**9
NOW = 500 * SECOND
PUBLIC = bytes(range(32))
BODY = b"\1\0\0\0" + (1234).to_bytes(4, "little") + bytes(108)
SOURCE = Endpoint(bytes([192, 0, 2, 9]), 40000)


@pytest.fixture
def issuer() -> CookieIssuer:
    return CookieIssuer(PUBLIC, random.Random(1).randbytes)


@pytest.fixture
def holder() -> CookieHolder:
    return CookieHolder(PUBLIC)


def ask(issuer: CookieIssuer, holder: CookieHolder, now: int = NOW) -> CookieReply:
    """The holder sends a message, the issuer answers it with a cookie."""
    return issuer.reply(holder.add_macs(BODY, now), SOURCE, now)


def failed(holder: CookieHolder, reply: CookieReply, now: int = NOW) -> bool:
    try:
        holder.consume(reply, now)
    except Drop as drop:
        return drop.reason is Reason.HANDSHAKE_FAILED
    return False


def test_mac1_covers_every_byte_before_it() -> None:
    message = CookieHolder(PUBLIC).add_macs(BODY, NOW)
    assert mac1_valid(mac1_key(PUBLIC), message)
    assert not mac1_valid(mac1_key(bytes(32)), message)
    for position in range(len(message) - 16):
        flipped = bytearray(message)
        flipped[position] ^= 0x10
        assert not mac1_valid(mac1_key(PUBLIC), bytes(flipped))


def test_without_a_cookie_mac2_is_zero_and_invalid(
    issuer: CookieIssuer, holder: CookieHolder
) -> None:
    message = holder.add_macs(BODY, NOW)
    assert message[-16:] == bytes(16)
    assert not issuer.mac2_valid(message, SOURCE, NOW)


def test_a_cookie_makes_mac2_valid(issuer: CookieIssuer, holder: CookieHolder) -> None:
    holder.consume(ask(issuer, holder), NOW)
    message = holder.add_macs(BODY, NOW)
    assert issuer.mac2_valid(message, SOURCE, NOW)
    for position in (0, 60, len(message) - 17, len(message) - 1):
        flipped = bytearray(message)
        flipped[position] ^= 1
        assert not issuer.mac2_valid(bytes(flipped), SOURCE, NOW)


@pytest.mark.parametrize(
    "elsewhere",
    [
        SOURCE._replace(port=40001),
        SOURCE._replace(port=40000 ^ 0x0100),
        SOURCE._replace(ip=bytes([192, 0, 2, 10])),
        SOURCE._replace(ip=bytes([192, 0, 2, 9]) + bytes(12)),
    ],
    ids=["low byte of port", "high byte of port", "address", "family"],
)
def test_a_cookie_is_bound_to_address_and_port(
    issuer: CookieIssuer, holder: CookieHolder, elsewhere: Endpoint
) -> None:
    holder.consume(ask(issuer, holder), NOW)
    assert not issuer.mac2_valid(holder.add_macs(BODY, NOW), elsewhere, NOW)


def test_an_initiator_trusts_a_cookie_for_115_seconds(
    issuer: CookieIssuer, holder: CookieHolder
) -> None:
    holder.consume(ask(issuer, holder), NOW)
    assert holder.add_macs(BODY, NOW + 115 * SECOND - 1)[-16:] != bytes(16)
    assert holder.add_macs(BODY, NOW + 115 * SECOND)[-16:] == bytes(16)


def test_a_secret_lives_120_seconds(issuer: CookieIssuer, holder: CookieHolder) -> None:
    holder.consume(ask(issuer, holder), NOW)
    message = holder.add_macs(BODY, NOW)
    assert issuer.mac2_valid(message, SOURCE, NOW + 120 * SECOND - 1)
    assert not issuer.mac2_valid(message, SOURCE, NOW + 120 * SECOND)
    # The new secret is another one, not the old one with a new birthday.
    assert not issuer.mac2_valid(message, SOURCE, NOW + 120 * SECOND + 1)


def test_a_reply_must_answer_the_last_message(issuer: CookieIssuer, holder: CookieHolder) -> None:
    early = ask(issuer, holder)
    late = issuer.reply(holder.add_macs(BODY[:-1] + b"\1", NOW), SOURCE, NOW)
    assert failed(holder, early)
    assert not failed(holder, late)


def test_a_reply_is_taken_once(issuer: CookieIssuer, holder: CookieHolder) -> None:
    reply = ask(issuer, holder)
    assert not failed(holder, reply)
    assert failed(holder, reply, NOW + SECOND)
    # Else its replay would keep a cookie that has long gone stale.
    assert holder.add_macs(BODY, NOW + 115 * SECOND)[-16:] == bytes(16)


def test_an_unasked_reply_is_refused(issuer: CookieIssuer, holder: CookieHolder) -> None:
    assert failed(CookieHolder(PUBLIC), ask(issuer, holder))


def test_a_forged_reply_changes_nothing(issuer: CookieIssuer, holder: CookieHolder) -> None:
    reply = ask(issuer, holder)
    for position in range(32):
        sealed = bytearray(reply.encrypted_cookie)
        sealed[position] ^= 1
        assert failed(holder, CookieReply(1234, reply.nonce, bytes(sealed)))
    assert failed(holder, CookieReply(1234, bytes(24), reply.encrypted_cookie))
    assert failed(
        holder, ask(CookieIssuer(bytes(32), random.Random(2).randbytes), CookieHolder(PUBLIC))
    )
    assert not failed(holder, reply)


def test_every_reply_has_a_nonce_of_its_own(issuer: CookieIssuer, holder: CookieHolder) -> None:
    replies = [ask(issuer, holder) for _ in range(20)]
    assert len({reply.nonce for reply in replies}) == 20
    assert {reply.receiver_index for reply in replies} == {1234}

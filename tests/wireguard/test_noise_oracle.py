"""Noise_IKpsk2 against others: the public cacophony vector, and an independent implementation.

WireGuard is generic Noise with its identifier as prologue, a TAI64N label as the first payload and
nothing as the second. So our functions play the cacophony vector when its prologue and its second
payload are put in their place, and ``noiseprotocol`` plays WireGuard when told the identifier.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair as Kind
from noise.connection import NoiseConnection

from tests.wireguard.vectors import load, unhex
from wgvx.drops import Drop, Reason
from wgvx.wireguard import noise
from wgvx.wireguard.constants import CONSTRUCTION, IDENTIFIER
from wgvx.wireguard.crypto import dh_public, hash_, seal
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.messages import Initiation, Response
from wgvx.wireguard.noise import TransportKeys

VECTOR: dict[str, Any] = unhex(load("noise_ikpsk2_cacophony.json")["vector"])
MESSAGES = [(m["payload"], m["ciphertext"]) for m in VECTOR["messages"]]
key = st.binary(min_size=32, max_size=32)


@contextmanager
def ephemerals_are_given() -> Iterator[None]:
    """The oracle warns of ephemeral keys that are not drawn by itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of ephemeral keypairs is already set")
        yield


def oracle(
    *,
    prologue: bytes,
    preshared_key: bytes,
    static: bytes,
    ephemeral: bytes,
    remote_static: bytes | None,
) -> NoiseConnection:
    """The independent implementation; with ``remote_static`` the initiator."""
    connection = NoiseConnection.from_name(CONSTRUCTION)
    connection.set_prologue(prologue)
    connection.set_psks(preshared_key)
    connection.set_keypair_from_private_bytes(Kind.STATIC, static)
    connection.set_keypair_from_private_bytes(Kind.EPHEMERAL, ephemeral)
    if remote_static is None:
        connection.set_as_responder()
    else:
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(Kind.REMOTE_STATIC, remote_static)
    with ephemerals_are_given():
        connection.start_handshake()
    return connection


def vector_oracle(role: str) -> NoiseConnection:
    return oracle(
        prologue=VECTOR[f"{role}_prologue"],
        preshared_key=VECTOR[f"{role}_psks"][0],
        static=VECTOR[f"{role}_static"],
        ephemeral=VECTOR[f"{role}_ephemeral"],
        remote_static=VECTOR.get(f"{role}_remote_static"),
    )


def test_the_oracle_agrees_with_the_vector() -> None:
    sides = vector_oracle("init"), vector_oracle("resp")
    for turn, (payload, ciphertext) in enumerate(MESSAGES):
        sender, receiver = sides[turn % 2], sides[1 - turn % 2]
        if turn < 2:
            assert bytes(sender.write_message(payload)) == ciphertext
            assert bytes(receiver.read_message(ciphertext)) == payload
        else:
            assert sender.encrypt(payload) == ciphertext
            assert receiver.decrypt(ciphertext) == payload
    assert bytes(sides[0].get_handshake_hash()) == VECTOR["handshake_hash"]


@pytest.fixture
def generic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our functions with the vector's prologue and second payload."""

    def seal_payload(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return seal(key, plaintext or MESSAGES[1][0], aad)

    initial = hash_(noise.INITIAL_CHAINING_KEY, VECTOR["init_prologue"])
    monkeypatch.setattr(noise, "INITIAL_HASH", initial)
    monkeypatch.setattr(noise, "seal", seal_payload)


def check_transport(initiator: TransportKeys, responder: TransportKeys) -> None:
    pairs = [Keypair(1, 0, 0, initiator, True, 0), Keypair(1, 0, 0, responder, False, 0)]
    for turn, (payload, ciphertext) in enumerate(MESSAGES[2:]):
        sender, receiver = pairs[turn % 2], pairs[1 - turn % 2]
        message = sender.seal(payload)
        assert message[16:] == ciphertext
        assert receiver.open(message, 0) == payload


@pytest.mark.usefixtures("generic")
def test_we_agree_with_the_vector() -> None:
    responder_public = dh_public(VECTOR["resp_static"])
    assert responder_public == VECTOR["init_remote_static"]
    handshake, first = noise.create_initiation(
        static_private=VECTOR["init_static"],
        static_public=dh_public(VECTOR["init_static"]),
        remote_static=responder_public,
        ephemeral_private=VECTOR["init_ephemeral"],
        sender_index=1,
        timestamp=MESSAGES[0][0],
    )
    assert first.ephemeral + first.static + first.timestamp == MESSAGES[0][1]

    received = noise.consume_initiation(
        first, static_private=VECTOR["resp_static"], static_public=responder_public
    )
    assert received.open_timestamp(VECTOR["resp_static"]) == MESSAGES[0][0]
    second, responder = noise.create_response(
        received.handshake,
        remote_static=received.remote_static,
        preshared_key=VECTOR["resp_psks"][0],
        ephemeral_private=VECTOR["resp_ephemeral"],
        sender_index=2,
    )
    assert second.ephemeral + second.empty == MESSAGES[1][1]
    assert received.handshake.hash == VECTOR["handshake_hash"]

    initiator = noise.consume_response(
        handshake,
        second,
        static_private=VECTOR["init_static"],
        preshared_key=VECTOR["init_psks"][0],
    )
    check_transport(initiator, responder)


def check_oracle_transport(connection: NoiseConnection, ours: TransportKeys, data: bytes) -> None:
    keypair = Keypair(1, 0, 0, ours, True, 0)
    for counter in range(3):
        payload = data + bytes([counter])
        assert connection.decrypt(keypair.seal(payload)[16:]) == payload
        header = (4).to_bytes(4, "little") + bytes(4) + counter.to_bytes(8, "little")
        assert keypair.open(header + connection.encrypt(payload), 0) == payload


@settings(max_examples=25)
@given(static=key, remote=key, ephemeral=key, remote_ephemeral=key, psk=key, stamp=st.binary())
def test_we_initiate_with_the_oracle(
    static: bytes,
    remote: bytes,
    ephemeral: bytes,
    remote_ephemeral: bytes,
    psk: bytes,
    stamp: bytes,
) -> None:
    handshake, first = noise.create_initiation(
        static_private=static,
        static_public=dh_public(static),
        remote_static=dh_public(remote),
        ephemeral_private=ephemeral,
        sender_index=1,
        timestamp=stamp,
    )
    connection = oracle(
        prologue=IDENTIFIER,
        preshared_key=psk,
        static=remote,
        ephemeral=remote_ephemeral,
        remote_static=None,
    )
    sent = first.ephemeral + first.static + first.timestamp
    assert bytes(connection.read_message(sent)) == stamp
    assert bytes(connection.noise_protocol.handshake_state.rs.public_bytes) == dh_public(static)
    answer = bytes(connection.write_message())
    keys = noise.consume_response(
        handshake,
        Response(2, 1, answer[:32], answer[32:]),
        static_private=static,
        preshared_key=psk,
    )
    check_oracle_transport(connection, keys, stamp)


@settings(max_examples=25)
@given(static=key, remote=key, ephemeral=key, remote_ephemeral=key, psk=key, stamp=st.binary())
def test_the_oracle_initiates_with_us(
    static: bytes,
    remote: bytes,
    ephemeral: bytes,
    remote_ephemeral: bytes,
    psk: bytes,
    stamp: bytes,
) -> None:
    connection = oracle(
        prologue=IDENTIFIER,
        preshared_key=psk,
        static=remote,
        ephemeral=remote_ephemeral,
        remote_static=dh_public(static),
    )
    sent = bytes(connection.write_message(stamp))
    received = noise.consume_initiation(
        Initiation(7, sent[:32], sent[32:80], sent[80:]),
        static_private=static,
        static_public=dh_public(static),
    )
    assert received.remote_static == dh_public(remote)
    assert received.open_timestamp(static) == stamp
    response, keys = noise.create_response(
        received.handshake,
        remote_static=received.remote_static,
        preshared_key=psk,
        ephemeral_private=ephemeral,
        sender_index=9,
    )
    assert (response.sender_index, response.receiver_index) == (9, 7)
    assert bytes(connection.read_message(response.ephemeral + response.empty)) == b""
    check_oracle_transport(connection, keys, stamp)


@settings(max_examples=25)
@given(ephemerals=st.tuples(key, key), psk=key, bit=st.integers(0, (32 + 16) * 8 - 1))
def test_a_forged_response_leaves_the_handshake_usable(
    ephemerals: tuple[bytes, bytes], psk: bytes, bit: int
) -> None:
    static, remote = bytes(range(32)), bytes(range(32, 64))
    handshake, first = noise.create_initiation(
        static_private=static,
        static_public=dh_public(static),
        remote_static=dh_public(remote),
        ephemeral_private=ephemerals[0],
        sender_index=1,
        timestamp=bytes(12),
    )
    received = noise.consume_initiation(
        first, static_private=remote, static_public=dh_public(remote)
    )
    received.open_timestamp(remote)
    response, theirs = noise.create_response(
        received.handshake,
        remote_static=received.remote_static,
        preshared_key=psk,
        ephemeral_private=ephemerals[1],
        sender_index=2,
    )
    body = bytearray(response.ephemeral + response.empty)
    body[bit // 8] ^= 1 << bit % 8
    forged = Response(2, 1, bytes(body[:32]), bytes(body[32:]))
    with pytest.raises(Drop) as refused:
        noise.consume_response(handshake, forged, static_private=static, preshared_key=psk)
    assert refused.value.reason is Reason.HANDSHAKE_FAILED

    ours = noise.consume_response(handshake, response, static_private=static, preshared_key=psk)
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)

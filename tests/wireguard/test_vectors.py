"""One handshake proven against wireguard-go, with every intermediate value and packet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.wireguard.vectors import load, unhex
from wgvx.config import NodeConfig
from wgvx.dataplane.interface import Datagram
from wgvx.dataplane.reference import ReferenceDataPlane
from wgvx.engine import Engine
from wgvx.wireguard import constants, cookie, inner, messages, noise
from wgvx.wireguard.crypto import dh_public, kdf
from wgvx.wireguard.keypair import Keypair
from wgvx.wireguard.noise import TransportKeys
from wgvx.wireguard.sessions import Endpoint
from wgvx.wireguard.tai64n import TAI64_BASE, TimestampSource, label

FILE = unhex(load("handshake.json"))
CASE: dict[str, Any] = FILE["cases"][0]
INITIATOR, RESPONDER = CASE["initiator"], CASE["responder"]
MESSAGE_1, MESSAGE_2 = CASE["msg1"], CASE["msg2"]
STEPS_1, STEPS_2 = MESSAGE_1["intermediates"], MESSAGE_2["intermediates"]
KEYS = CASE["transport"]
PSK = CASE["psk"]
NOW = 10**12


class Trace:
    """Records what the primitives return, in order, while the handshake functions use them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outputs: list[bytes] = []
        for name in ("dh", "hash_", "kdf", "seal"):
            monkeypatch.setattr(noise, name, self._traced(getattr(noise, name)))

    def _traced(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*arguments: Any) -> Any:
            output = function(*arguments)
            self.outputs += output if isinstance(output, tuple) else [output]
            return output

        return traced

    def take(self) -> list[bytes]:
        outputs, self.outputs = self.outputs, []
        return outputs


def steps(source: dict[str, bytes], names: str) -> list[bytes]:
    return [source[name] for name in names.split()]


def test_constants() -> None:
    given = load("handshake.json")["constants"]
    assert given["construction"].encode() == constants.CONSTRUCTION
    assert given["identifier"].encode() == constants.IDENTIFIER
    assert noise.INITIAL_CHAINING_KEY.hex() == given["initial_chaining_key"]
    assert noise.INITIAL_HASH.hex() == given["initial_hash"]


@pytest.mark.parametrize("case", unhex(load("kdf.json"))["cases"])
def test_kdf(case: dict[str, Any]) -> None:
    for n in (1, 2, 3):
        assert kdf(n, case["key"], case["input"]) == tuple(case["t"][:n])


@pytest.mark.parametrize("side", [INITIATOR, RESPONDER], ids=["initiator", "responder"])
def test_keys(side: dict[str, bytes]) -> None:
    assert dh_public(side["static_private"]) == side["static_public"]
    assert dh_public(side["ephemeral_private"]) == side["ephemeral_public"]
    assert cookie.mac1_key(side["static_public"]) == side["mac1_key_to_reach_me"]
    assert cookie.cookie_key(side["static_public"]) == side["cookie_key"]


def create_initiation() -> tuple[noise.Handshake, messages.Initiation]:
    return noise.create_initiation(
        static_private=INITIATOR["static_private"],
        static_public=INITIATOR["static_public"],
        remote_static=RESPONDER["static_public"],
        ephemeral_private=INITIATOR["ephemeral_private"],
        sender_index=CASE["sender_index_initiator"],
        timestamp=CASE["tai64n"],
    )


def consume_initiation() -> noise.ReceivedInitiation:
    return noise.consume_initiation(
        messages.Initiation.parse(MESSAGE_1["bytes"]),
        static_private=RESPONDER["static_private"],
        static_public=RESPONDER["static_public"],
    )


def create_response(
    received: noise.ReceivedInitiation,
) -> tuple[messages.Response, TransportKeys]:
    return noise.create_response(
        received.handshake,
        remote_static=received.remote_static,
        preshared_key=PSK,
        ephemeral_private=RESPONDER["ephemeral_private"],
        sender_index=CASE["sender_index_responder"],
    )


def test_every_step_of_creating_message_1(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)
    _, message = create_initiation()
    assert trace.take() == steps(
        STEPS_1,
        "h0 ck_e h_e dh_es ck_es k_es encrypted_static h_s"
        " dh_ss ck_ss k_ss encrypted_timestamp h_t",
    )
    assert message.ephemeral == INITIATOR["ephemeral_public"]
    packed = cookie.CookieHolder(RESPONDER["static_public"]).add_macs(message.pack(), NOW)
    assert packed == MESSAGE_1["bytes"]
    assert packed[-32:] == STEPS_1["mac1"] + STEPS_1["mac2"]


def test_every_step_of_consuming_message_1(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(monkeypatch)
    received = consume_initiation()
    assert trace.take() == steps(STEPS_1, "h0 ck_e h_e dh_es ck_es k_es h_s")
    assert received.remote_static == INITIATOR["static_public"]
    assert received.open_timestamp(RESPONDER["static_private"]) == CASE["tai64n"]
    assert trace.take() == steps(STEPS_1, "dh_ss ck_ss k_ss h_t")
    assert received.handshake.remote_index == CASE["sender_index_initiator"]
    assert cookie.mac1_valid(RESPONDER["mac1_key_to_reach_me"], MESSAGE_1["bytes"])


def test_every_step_of_creating_message_2(monkeypatch: pytest.MonkeyPatch) -> None:
    received = consume_initiation()
    received.open_timestamp(RESPONDER["static_private"])
    trace = Trace(monkeypatch)
    message, keys = create_response(received)
    assert trace.take() == [
        *steps(STEPS_2, "ck_e h_e dh_ee ck_ee dh_se ck_se"),
        *steps(STEPS_2, "ck_psk tau k h_psk encrypted_nothing h_final"),
        *steps(KEYS, "initiator_to_responder_key responder_to_initiator_key"),
    ]
    assert keys.send == KEYS["responder_to_initiator_key"]
    assert keys.receive == KEYS["initiator_to_responder_key"]
    assert received.handshake.chaining_key == KEYS["final_chaining_key"]
    packed = cookie.CookieHolder(INITIATOR["static_public"]).add_macs(message.pack(), NOW)
    assert packed == MESSAGE_2["bytes"]
    assert packed[-32:] == STEPS_2["mac1"] + STEPS_2["mac2"]


def test_every_step_of_consuming_message_2(monkeypatch: pytest.MonkeyPatch) -> None:
    handshake, _ = create_initiation()
    trace = Trace(monkeypatch)
    keys = noise.consume_response(
        handshake,
        messages.Response.parse(MESSAGE_2["bytes"]),
        static_private=INITIATOR["static_private"],
        preshared_key=PSK,
    )
    assert trace.take() == [
        *steps(STEPS_2, "ck_e h_e dh_ee ck_ee dh_se ck_se ck_psk tau k h_psk"),
        *steps(KEYS, "initiator_to_responder_key responder_to_initiator_key"),
    ]
    assert keys.send == KEYS["initiator_to_responder_key"]
    assert keys.receive == KEYS["responder_to_initiator_key"]
    assert cookie.mac1_valid(INITIATOR["mac1_key_to_reach_me"], MESSAGE_2["bytes"])


def keypair(sender: str) -> tuple[Keypair, Keypair]:
    """Both ends of the recorded session: (the sender's, the receiver's)."""
    keys = KEYS["initiator_to_responder_key"], KEYS["responder_to_initiator_key"]
    indices = CASE["sender_index_initiator"], CASE["sender_index_responder"]
    left = Keypair(1, indices[0], indices[1], TransportKeys(keys[0], keys[1]), True, NOW)
    right = Keypair(1, indices[1], indices[0], TransportKeys(keys[1], keys[0]), False, NOW)
    return (left, right) if sender == "initiator" else (right, left)


@pytest.mark.parametrize("packet", CASE["packets"], ids=lambda packet: str(packet["note"]))
def test_transport_packet(packet: dict[str, Any]) -> None:
    ours, theirs = keypair(packet["sender"])
    ours.send_counter = packet["counter"]
    # The vectors' 0 stands for a device that knows no MTU; ours always knows one.
    padded = inner.pad(packet["plaintext"], packet["interface_mtu"] or 65535)
    assert padded == packet["padded_plaintext"]
    message = ours.seal(padded)
    assert message == packet["message"]
    assert ours.send_counter == packet["counter"] + 1
    plaintext = theirs.open(packet["message"], NOW)
    if packet["plaintext"]:
        plaintext = inner.parse(plaintext).packet
    assert plaintext == packet["plaintext"]


def _forgotten(_: int) -> None:
    """A state file that forgets."""


# --- the same through a whole engine ------------------------------------------------------------


def engine(side: dict[str, bytes], other: dict[str, bytes], index: int) -> tuple[Engine, int]:
    """An engine that plays one side of the recording, and its number for the other."""

    def recorded(n: int) -> bytes:
        return index.to_bytes(4, "little") if n == 4 else side["ephemeral_private"]

    node = NodeConfig(side["static_private"], 51820, (), None, 0, False, None)
    tai_seconds, nanoseconds = divmod(int.from_bytes(CASE["tai64n"], "big"), 1 << 32)
    unix = (tai_seconds - TAI64_BASE) * 10**9 + nanoseconds
    assert label(unix) == CASE["tai64n"]
    made = Engine(
        ReferenceDataPlane(),
        node,
        timestamps=TimestampSource(0, _forgotten),
        random=recorded,
        wall_clock=lambda: unix,
    )
    info = made.add_peer(other["static_public"])
    made.device.set_preshared_key(info.id, PSK)
    return made, info.id


ELSEWHERE = Endpoint(bytes([192, 0, 2, 7]), 7)


def test_an_engine_sends_the_recorded_initiation() -> None:
    made, peer = engine(INITIATOR, RESPONDER, CASE["sender_index_initiator"])
    made.dataplane.set_endpoint(peer, ELSEWHERE)
    made.device.initiate(peer, NOW)
    assert made.dataplane.take().datagrams == [Datagram(MESSAGE_1["bytes"], ELSEWHERE, 0x88)]

    answer = made.receive([Datagram(MESSAGE_2["bytes"], ELSEWHERE)], NOW).datagrams
    assert answer == [Datagram(CASE["packets"][0]["message"], ELSEWHERE, 0)]


def test_an_engine_answers_the_recorded_initiation() -> None:
    made, peer = engine(RESPONDER, INITIATOR, CASE["sender_index_responder"])
    answer = made.receive([Datagram(MESSAGE_1["bytes"], ELSEWHERE)], NOW).datagrams
    assert answer == [Datagram(MESSAGE_2["bytes"], ELSEWHERE, 0x88)]
    assert made.device.latest_handshake(peer) == 0

    keepalive = CASE["packets"][0]["message"]
    assert not made.receive([Datagram(keepalive, ELSEWHERE)], NOW).datagrams
    assert made.device.latest_handshake(peer) > 0
    assert not any(made.dataplane.drops().values())

"""The three key slots against a model, and the life of one session by time and by messages."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx.drops import Drop, Reason
from wgvx.wireguard.constants import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from wgvx.wireguard.keypair import Keypair, KeySlots
from wgvx.wireguard.noise import TransportKeys

SECOND = 10**9
BIRTH = 77 * SECOND


def make(*, initiator: bool, index: int = 1, birth: int = BIRTH) -> Keypair:
    ours, theirs = bytes([1] * 32), bytes([2] * 32)
    keys = TransportKeys(ours, theirs) if initiator else TransportKeys(theirs, ours)
    return Keypair(1, index, index, keys, initiator, birth)


# --- slots --------------------------------------------------------------------------------------


class Slots(NamedTuple):
    """The slots by the number of the session in each."""

    current: int | None = None
    previous: int | None = None
    next: int | None = None

    def live(self) -> set[int]:
        return {number for number in self if number is not None}


def modelled(slots: Slots, operation: str, number: int) -> Slots:
    """noise.c's rules: add_new_keypair and received_with_keypair."""
    if operation == "initiator":
        return Slots(number, slots.current if slots.next is None else slots.next, None)
    if operation == "responder":
        return Slots(slots.current, None, number)
    if operation == "clear":
        return Slots()
    if slots.next is not None and operation == "confirm next":
        return Slots(slots.next, slots.current, None)
    return slots


operations = st.lists(
    st.sampled_from(
        ["initiator", "responder", "confirm current", "confirm previous", "confirm next", "clear"]
    ),
    max_size=40,
)


@given(operations)
def test_slots_agree_with_the_model(sequence: list[str]) -> None:
    slots, model = KeySlots(), Slots()
    live: dict[int, Keypair] = {}
    for number, operation in enumerate(sequence):
        confirms_next = operation == "confirm next" and model.next is not None
        model = modelled(model, operation, number)
        if operation in ("initiator", "responder"):
            live[number] = make(initiator=operation == "initiator", index=number)
            dropped = slots.install(live[number])
        elif operation == "clear":
            dropped = slots.clear()
        else:
            keypair = getattr(slots, operation.removeprefix("confirm "))
            if keypair is None:
                continue
            confirmed, dropped = slots.confirm(keypair)
            assert confirmed == confirms_next
        for keypair in dropped:
            del live[keypair.local_index]
        # What was told as dropped, and nothing else, is gone.
        assert set(live) == model.live()
        names = "current", "previous", "next"
        held = [getattr(slots, name) for name in names]
        assert Slots(*(k and k.local_index for k in held)) == model
        assert {keypair.local_index for keypair in slots} == model.live()


def test_an_initiator_keeps_an_unconfirmed_next_as_previous() -> None:
    """Both sides initiated at once: the peer may be about to use the session it started."""
    slots = KeySlots()
    old, theirs, ours = make(initiator=True), make(initiator=False), make(initiator=True)
    slots.install(old)
    slots.install(theirs)
    assert slots.install(ours) == [old]
    assert (slots.current, slots.previous, slots.next) == (ours, theirs, None)


# --- age and use --------------------------------------------------------------------------------


@pytest.mark.parametrize("initiator", [True, False])
def test_no_sending_from_180_seconds(initiator: bool) -> None:
    keypair = make(initiator=initiator)
    assert keypair.can_send(BIRTH + 180 * SECOND - 1)
    assert not keypair.can_send(BIRTH + 180 * SECOND)


def test_no_sending_from_reject_after_messages() -> None:
    keypair = make(initiator=True)
    keypair.send_counter = REJECT_AFTER_MESSAGES - 1
    assert keypair.can_send(BIRTH)
    message = keypair.seal(b"")
    assert int.from_bytes(message[8:16], "little") == 2**64 - 2**13 - 2
    assert not keypair.can_send(BIRTH)


def test_the_initiator_alone_rekeys_on_sending_at_120_seconds() -> None:
    assert not make(initiator=True).wants_rekey_on_send(BIRTH + 120 * SECOND - 1)
    assert make(initiator=True).wants_rekey_on_send(BIRTH + 120 * SECOND)
    assert not make(initiator=False).wants_rekey_on_send(BIRTH + 179 * SECOND)


@pytest.mark.parametrize("initiator", [True, False])
def test_either_role_rekeys_on_messages(initiator: bool) -> None:
    keypair = make(initiator=initiator)
    keypair.send_counter = REKEY_AFTER_MESSAGES
    assert not keypair.wants_rekey_on_send(BIRTH)
    keypair.seal(b"")
    assert keypair.wants_rekey_on_send(BIRTH)


def test_the_initiator_alone_rekeys_on_receiving_at_165_seconds_and_asks_once() -> None:
    keypair = make(initiator=True)
    assert not keypair.wants_rekey_on_receive(BIRTH + 165 * SECOND - 1)
    assert keypair.wants_rekey_on_receive(BIRTH + 165 * SECOND)
    keypair.rekey_asked = True
    assert not keypair.wants_rekey_on_receive(BIRTH + 170 * SECOND)
    assert not make(initiator=False).wants_rekey_on_receive(BIRTH + 170 * SECOND)


def refusal(keypair: Keypair, message: bytes, now: int) -> Reason:
    with pytest.raises(Drop) as refused:
        keypair.open(message, now)
    return refused.value.reason


def test_nothing_opens_from_180_seconds() -> None:
    ours, theirs = make(initiator=True), make(initiator=False)
    messages = [ours.seal(b"a"), ours.seal(b"b")]
    assert theirs.open(messages[0], BIRTH + 180 * SECOND - 1) == b"a"
    assert refusal(theirs, messages[1], BIRTH + 180 * SECOND) is Reason.KEY_EXPIRED


def test_nothing_opens_from_reject_after_messages() -> None:
    ours, theirs = make(initiator=True), make(initiator=False)
    ours.send_counter = REJECT_AFTER_MESSAGES - 1
    assert theirs.open(ours.seal(b"last"), BIRTH) == b"last"
    assert refusal(theirs, ours.seal(b"beyond"), BIRTH) is Reason.KEY_EXPIRED


def test_a_forgery_does_not_move_the_replay_window() -> None:
    ours, theirs = make(initiator=True), make(initiator=False)
    message = ours.seal(b"true")
    forged = bytearray(message)
    forged[8:16] = (2**40).to_bytes(8, "little")
    assert refusal(theirs, bytes(forged), BIRTH) is Reason.AUTH_FAILED
    assert theirs.open(message, BIRTH) == b"true"
    assert refusal(theirs, message, BIRTH) is Reason.REPLAYED


def test_a_forgery_of_a_counter_does_not_use_that_counter_up() -> None:
    ours, theirs = make(initiator=True), make(initiator=False)
    message = ours.seal(b"true")
    forged = message[:-1] + bytes([message[-1] ^ 1])
    assert refusal(theirs, forged, BIRTH) is Reason.AUTH_FAILED
    assert theirs.open(message, BIRTH) == b"true"


def test_a_packet_does_not_open_at_its_own_sender() -> None:
    ours = make(initiator=True)
    assert refusal(ours, ours.seal(b"to them"), BIRTH) is Reason.AUTH_FAILED

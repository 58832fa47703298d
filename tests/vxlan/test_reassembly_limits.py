"""The limits of reassembly: who loses what, by example and against a model; what floods may do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vxlan.fragments import DATA, add, piece, refused
from tests.vxlan.packets import A4, address, dropped
from wgvx.drops import Drop, Reason
from wgvx.vxlan.ip import IpPacket
from wgvx.vxlan.reassembly import FRAGMENT_OVERHEAD, Reassembler


def test_an_owner_over_its_share_loses_its_own_oldest_datagram() -> None:
    reassembler = Reassembler(limit_packets=8, owner_limit_packets=2)
    add(reassembler, piece(0, DATA[:8]), owner=2)
    for identification in (1, 2, 3):  # whatever address it comes from
        source = address(f"10.254.1.{identification}")
        add(reassembler, piece(0, DATA[:8], source=source, identification=identification))
    assert (len(reassembler), reassembler.expire(0)) == (3, 1)
    first, last = (
        piece(8, b"!", more=False, source=address(f"10.254.1.{n}"), identification=n)
        for n in (1, 3)
    )
    assert add(reassembler, first) is None  # a new one
    assert add(reassembler, last) is not None
    assert add(reassembler, piece(8, b"!", more=False), owner=2) is not None


def test_a_full_house_gives_up_the_oldest_of_who_holds_most() -> None:
    reassembler = Reassembler(limit_packets=6, owner_limit_packets=3)
    add(reassembler, piece(0, DATA[:8]), owner=9)
    for identification in (1, 2, 3):
        add(reassembler, piece(0, DATA[:8], identification=identification), owner=1)
    for identification in (1, 2):
        add(reassembler, piece(0, DATA[:8], identification=identification), owner=2)
    add(reassembler, piece(0, DATA[:8], identification=3), owner=2)
    assert (len(reassembler), reassembler.expire(0)) == (6, 1)
    # Owner 1 has lost its first, and no other did.
    held = [(9, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    for owner, identification in held:
        end = piece(8, b"!", more=False, identification=identification)
        assert add(reassembler, end, owner=owner) is not None
    assert (len(reassembler), reassembler.expire(0)) == (0, 0)


def test_a_full_house_is_no_reason_to_take_from_who_holds_as_much() -> None:
    reassembler = Reassembler(limit_packets=4, owner_limit_packets=3)
    for identification in (1, 2):
        for owner in (1, 2):
            add(reassembler, piece(0, DATA[:8], identification=identification), owner=owner)
    add(reassembler, piece(0, DATA[:8], identification=3), owner=2)
    for owner, identification in ((1, 1), (1, 2), (2, 2), (2, 3)):
        end = piece(8, b"!", more=False, identification=identification)
        assert add(reassembler, end, owner=owner) is not None
    assert reassembler.expire(0) == 1


def test_bytes_of_an_owner() -> None:
    room = 2 * (1000 + FRAGMENT_OVERHEAD)
    reassembler = Reassembler(owner_limit_bytes=room)
    add(reassembler, piece(0, bytes(1000), identification=1))
    add(reassembler, piece(0, bytes(1000), identification=2))
    add(reassembler, piece(1000, bytes(1000), identification=2))
    assert (len(reassembler), reassembler.charge, reassembler.expire(0)) == (1, room, 1)
    # Nothing of its own is left to give up: the datagram itself goes.
    refused(reassembler, piece(2000, bytes(8), identification=2))
    assert (len(reassembler), reassembler.charge, reassembler.expire(0)) == (0, 0, 2)


def test_bytes_of_all() -> None:
    each = 1000 + FRAGMENT_OVERHEAD
    reassembler = Reassembler(limit_bytes=4 * each, owner_limit_bytes=4 * each)
    add(reassembler, piece(0, bytes(1000)), owner=1)
    add(reassembler, piece(1000, bytes(1000)), owner=1)  # one datagram, and the heaviest owner
    for identification in (1, 2):  # two, and lighter
        add(reassembler, piece(0, bytes(8), identification=identification), owner=2)
    add(reassembler, piece(0, bytes(1000)), owner=3)
    assert (len(reassembler), reassembler.expire(0)) == (4, 0)
    add(reassembler, piece(0, bytes(1000)), owner=4)
    assert (len(reassembler), reassembler.expire(0)) == (4, 2)
    assert add(reassembler, piece(0, bytes(1000)), owner=1) is None
    # Who is the heaviest gives up its own, and what it adds to only as a last resort.
    add(reassembler, piece(0, bytes(8), identification=2), owner=3)
    add(reassembler, piece(1000, bytes(1000), identification=2), owner=3)
    assert (len(reassembler), reassembler.expire(0)) == (5, 1)
    refused(reassembler, piece(2000, bytes(2000), identification=2), owner=3)
    assert (len(reassembler), reassembler.expire(0)) == (4, 2)


def test_a_fragment_larger_than_all_the_room_is_refused() -> None:
    reassembler = Reassembler(limit_bytes=1000, owner_limit_bytes=2000)
    refused(reassembler, piece(0, bytes(1000)))
    assert (len(reassembler), reassembler.charge, reassembler.expire(0)) == (0, 0, 0)


TINY = [piece(0, DATA[:8], identification=n) for n in range(100)]
"""Datagrams that never end, each as little as can be."""
HEAVY = [
    piece(offset, bytes(1000), identification=n)
    for n in range(20)
    for offset in range(0, 50_000, 1000)
]
"""The same, each as much as can be."""


@pytest.mark.parametrize("flood", [TINY, HEAVY], ids=["tiny", "heavy"])
@pytest.mark.parametrize(
    "greedy",
    [
        [(2, address(f"10.254.2.{n}")) for n in range(4)],  # four sources of one owner
        [(owner, A4) for owner in (2, 3, 4)],
        [(owner, A4) for owner in range(2, 22)],
    ],
    ids=["one owner", "three owners", "twenty owners"],
)
def test_the_greedy_do_not_keep_others_from_theirs(
    greedy: list[tuple[int, bytes]], flood: list[IpPacket]
) -> None:
    reassembler = Reassembler()

    def all_of_it() -> None:
        for packet in flood:
            for owner, source in greedy:
                dropped(reassembler.add, replace(packet, source=source), 0, owner)

    parts = [piece(0, DATA[:16]), piece(16, DATA[16:32]), piece(32, DATA[32:], more=False)]
    all_of_it()
    assert add(reassembler, parts[0]) is None  # The house is full, and there is room for it,
    all_of_it()
    assert add(reassembler, parts[1]) is None  # and it stays.
    all_of_it()
    whole = add(reassembler, parts[2])
    assert whole is not None
    assert whole.payload == DATA


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.integers(0, 9),
            st.integers(0, 60).map(lambda units: units * 8),
            st.integers(1, 120),
        ),
        max_size=120,
    )
)
def test_bounds_hold_and_every_fragment_is_accounted_for(
    arrivals: list[tuple[int, int, int, int]],
) -> None:
    reassembler = Reassembler(limit_packets=8, limit_bytes=6000)
    held = dropped_count = delivered = 0
    for now, (owner, identification, offset, length) in enumerate(arrivals):
        packet = piece(offset, bytes(length), identification=identification, more=length % 8 == 0)
        try:
            whole = reassembler.add(packet, now, owner)
        except Drop:
            dropped_count += 1
            continue
        held += 1
        assert len(reassembler) <= 8
        assert reassembler.charge <= 6000
        if whole is not None:
            delivered += 1
            assert len(whole.payload) == offset + length or not packet.fragment
    given_up = reassembler.expire(len(arrivals))
    assert given_up <= held
    remaining = reassembler.expire(10**15)
    assert remaining <= held - given_up
    assert held + dropped_count == len(arrivals)
    assert (len(reassembler), reassembler.charge) == (0, 0)
    if not delivered:
        assert given_up + remaining == held


# ---- against a model ----


@dataclass
class Held:
    """What the model keeps of a datagram: the lengths of its fragments, one behind the other."""

    owner: int
    identification: int
    birth: int
    lengths: list[int] = field(default_factory=list)

    @property
    def charge(self) -> int:
        return sum(self.lengths) + FRAGMENT_OVERHEAD * len(self.lengths)


def make_room(held: list[Held], owner: int, added_to: Held | None, charge: int) -> bool:
    """The rule, at 6 datagrams and 5,000 bytes, and 3 and 2,000 for one owner."""
    new = added_to is None
    while True:
        number = Counter(one.owner for one in held)
        weight = Counter[int]()
        for one in held:
            weight[one.owner] += one.charge
        if number[owner] + new > 3 or weight[owner] + charge > 2000:
            losers = {owner}
        elif number.total() + new > 6:
            losers = heaviest(number, owner)
        elif weight.total() + charge > 5000:
            losers = heaviest(weight, owner)
        else:
            return True
        oldest = next((one for one in held if one.owner in losers and one is not added_to), None)
        if oldest is None:
            return False
        held.remove(oldest)


def heaviest(shares: Counter[int], owner: int) -> set[int]:
    """Those with the greatest share, but ``owner`` alone if it is among them."""
    most = max(shares.values())
    return {owner} if shares[owner] == most else {o for o in shares if shares[o] == most}


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 120)), max_size=80))
def test_the_model_loses_the_same(arrivals: list[tuple[int, int, int]]) -> None:
    reassembler = Reassembler(
        limit_packets=6,
        limit_bytes=5000,
        owner_limit_packets=3,
        owner_limit_bytes=2000,
        timeout=1000,
    )
    held: list[Held] = []
    refusals = 0
    for now, (owner, identification, units) in enumerate(arrivals):
        name = (owner, identification)
        found = next((one for one in held if (one.owner, one.identification) == name), None)
        one = found or Held(owner, identification, now)
        packet = piece(sum(one.lengths), bytes(units * 8), identification=identification)
        if make_room(held, owner, found, units * 8 + FRAGMENT_OVERHEAD):
            assert add(reassembler, packet, now, owner) is None
            one.lengths.append(units * 8)
            if found is None:
                held.append(one)
        else:
            assert dropped(reassembler.add, packet, now, owner) is Reason.FRAGMENT
            refusals += 1
            if found is not None:
                held.remove(found)
        assert (len(reassembler), reassembler.charge) == (len(held), sum(h.charge for h in held))
    # Time tells which ones are held: each is given up at its own moment.
    left = sum(len(one.lengths) for one in held)
    assert reassembler.expire(len(arrivals)) == len(arrivals) - refusals - left
    for one in held:
        assert reassembler.expire(one.birth + 999) == 0
        assert reassembler.expire(one.birth + 1000) == len(one.lengths)

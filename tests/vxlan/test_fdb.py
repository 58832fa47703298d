"""The forwarding database: each rule by example, then against a plain dictionary."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.vxlan.packets import A4, A6, B4, B6, BROADCAST, MAC_A, MAC_B, MAC_C, assert_drop, dropped
from wgvx.drops import Drop, Reason
from wgvx.vxlan.fdb import FLOOD, Fdb, Local, Remote, Row, State
from wgvx.vxlan.moves import Move

SECOND = 10**9
AGEING = 300 * SECOND
GROUP = bytes.fromhex("01005e000001")


def new(*, learning: bool = True, ageing: int = AGEING, max_entries: int = 0) -> Fdb:
    return Fdb(learning=learning, ageing=ageing, max_entries=max_entries)


# ---- learning ----


def test_learn_move_and_look_up() -> None:
    fdb = new()
    assert fdb.lookup(MAC_A, 0) is None
    fdb.learn(MAC_A, Remote(A4), 0)
    assert fdb.lookup(MAC_A, 0) == Remote(A4)
    fdb.learn(MAC_A, Remote(B6), 0)
    assert fdb.lookup(MAC_A, 0) == Remote(B6)
    fdb.learn(MAC_A, Local(3), 0)
    assert fdb.lookup(MAC_A, 0) == Local(3)
    assert fdb.entry_count == 1


def test_ageing_counts_from_the_last_frame_received() -> None:
    fdb = new()
    fdb.learn(MAC_A, Remote(A4), 0)
    fdb.learn(MAC_B, Remote(A4), 0)
    fdb.learn(MAC_A, Remote(A4), 10 * SECOND)
    fdb.lookup(MAC_B, AGEING - 1)  # sending to it does not refresh it
    assert fdb.lookup(MAC_B, AGEING - 1) == Remote(A4)
    assert fdb.lookup(MAC_B, AGEING) is None
    assert fdb.lookup(MAC_A, AGEING) == Remote(A4)
    assert fdb.age(AGEING) == 1
    assert fdb.age(AGEING + 10 * SECOND - 1) == 0
    assert fdb.age(AGEING + 10 * SECOND) == 1
    assert fdb.entry_count == 0


def test_no_ageing() -> None:
    fdb = new(ageing=0)
    fdb.learn(MAC_A, Remote(A4), 0)
    assert fdb.age(10**20) == 0
    assert fdb.lookup(MAC_A, 10**20) == Remote(A4)


def test_cap() -> None:
    fdb = new(max_entries=2)
    fdb.add(FLOOD, B4)
    fdb.add(MAC_C, B4)
    fdb.learn(MAC_A, Remote(A4), 0)
    fdb.learn(MAC_B, Local(1), SECOND)
    late = bytes.fromhex("020000000009")
    fdb.learn(late, Remote(A4), SECOND)
    assert fdb.lookup(late, SECOND) is None
    fdb.learn(MAC_B, Remote(B4), SECOND)  # who is in may move
    assert fdb.lookup(MAC_B, SECOND) == Remote(B4)
    assert fdb.entry_count == 3
    # An aged row gives up its place before anyone collects it.
    fdb.learn(late, Remote(A4), AGEING)
    assert fdb.lookup(late, AGEING) == Remote(A4)
    assert fdb.lookup(MAC_A, AGEING) is None


def test_learning_off() -> None:
    fdb = new(learning=False)
    fdb.add(MAC_B, B4)
    fdb.learn(MAC_A, Remote(A4), 0)
    fdb.learn(MAC_B, Remote(A4), 0)  # contradicts a static row, which only a learning table minds
    assert fdb.lookup(MAC_A, 0) is None
    assert fdb.lookup(MAC_B, 0) == Remote(B4)


@pytest.mark.parametrize("elsewhere", [Remote(A4), Local(1)])
def test_a_static_row_does_not_move(elsewhere: Remote | Local) -> None:
    fdb = new()
    fdb.add(MAC_A, B4)
    assert_drop(Reason.STATIC_MOVED, fdb.learn, MAC_A, elsewhere, 0)
    fdb.learn(MAC_A, Remote(B4), 0)
    assert fdb.lookup(MAC_A, 10 * AGEING) == Remote(B4)
    assert fdb.entry_count == 1


@pytest.mark.parametrize("elsewhere", [Remote(A4), Local(2)])
def test_a_permanent_row_does_not_move(elsewhere: Remote | Local) -> None:
    fdb = new()
    fdb.learn(MAC_A, elsewhere, 0)
    fdb.add_permanent(MAC_A, 1)
    assert_drop(Reason.STATIC_MOVED, fdb.learn, MAC_A, elsewhere, 0)
    fdb.learn(MAC_A, Local(1), 0)
    assert fdb.rows(10 * AGEING) == [Row(MAC_A, Local(1), State.LOCAL, None)]


# ---- editing ----


def test_flood_list() -> None:
    fdb = new()
    assert list(fdb.flood) == []
    for vtep in (B4, A4, B6, A4):
        fdb.add(FLOOD, vtep)
    assert list(fdb.flood) == [B4, A4, B6]
    assert fdb.replication(BROADCAST) == fdb.replication(MAC_A) == fdb.flood
    assert fdb.entry_count == 0
    assert fdb.delete(FLOOD, A4)
    assert not fdb.delete(FLOOD, A4)
    assert list(fdb.flood) == [B4, B6]
    assert fdb.flush(static=True) == 0
    assert list(fdb.flood) == [B4, B6]
    assert fdb.delete(FLOOD)
    assert not fdb.delete(FLOOD)
    assert list(fdb.flood) == []


def test_group_rows_stand_in_for_the_flood_list() -> None:
    fdb = new()
    fdb.add(FLOOD, A6)
    fdb.add(GROUP, A4)
    fdb.add(GROUP, B4)
    assert fdb.replication(GROUP) == (A4, B4)
    assert fdb.replication(BROADCAST) == (A6,)
    assert fdb.entry_count == 2
    assert fdb.delete(GROUP, A4)
    assert fdb.replication(GROUP) == (B4,)
    assert fdb.delete(GROUP)
    assert fdb.replication(GROUP) == (A6,)
    assert fdb.entry_count == 0


def test_a_unicast_mac_has_one_vtep() -> None:
    fdb = new()
    fdb.learn(MAC_A, Remote(B6), 0)
    fdb.add(MAC_A, A4)
    fdb.add(MAC_A, B4)
    assert fdb.rows(0) == [Row(MAC_A, Remote(B4), State.STATIC, None)]
    assert not fdb.delete(MAC_A, A4)
    assert fdb.delete(MAC_A, B4)
    assert fdb.lookup(MAC_A, 0) is None


def test_delete_takes_learned_rows_but_no_permanent_ones() -> None:
    fdb = new()
    fdb.learn(MAC_A, Remote(A4), 0)
    fdb.learn(MAC_B, Local(1), 0)
    fdb.add_permanent(MAC_C, 1)
    assert not fdb.delete(MAC_A, B4)
    assert fdb.delete(MAC_A, A4)
    assert not fdb.delete(MAC_B, A4)
    assert fdb.delete(MAC_B)
    assert not fdb.delete(MAC_C)
    assert not fdb.delete(MAC_A)
    assert fdb.entry_count == 1


def test_a_ports_own_address_cannot_be_static() -> None:
    fdb = new()
    fdb.add_permanent(MAC_A, 1)
    with pytest.raises(ValueError, match="02:00:00:00:00:01"):
        fdb.add(MAC_A, A4)


def full() -> Fdb:
    fdb = new()
    fdb.add(FLOOD, A4)
    fdb.add(GROUP, A4)
    fdb.add(GROUP, B4)
    fdb.add(MAC_A, B4)
    fdb.add_permanent(MAC_B, 1)
    fdb.learn(MAC_C, Remote(A4), 0)
    fdb.learn(bytes.fromhex("020000000004"), Remote(B4), SECOND)
    fdb.learn(bytes.fromhex("020000000005"), Local(1), 2 * SECOND)
    return fdb


@pytest.mark.parametrize(
    ("vtep", "static", "flushed"),
    [
        (None, False, 3),
        (None, True, 6),
        (A4, False, 1),
        (A4, True, 2),
        (B4, True, 3),
        (A6, True, 0),
    ],
)
def test_flush(vtep: bytes | None, static: bool, flushed: int) -> None:
    fdb = full()
    assert fdb.entry_count == 7
    assert fdb.flush(vtep, static=static) == flushed
    assert fdb.entry_count == 7 - flushed
    assert list(fdb.flood) == [A4]
    assert fdb.lookup(MAC_B, 0) == Local(1)
    left = [row.where for row in fdb.rows(0) if row.mac != FLOOD]
    if static:
        assert Remote(vtep) not in left if vtep else left == [Local(1)]


def test_rows() -> None:
    assert full().rows(10 * SECOND + 999) == [
        Row(FLOOD, Remote(A4), State.STATIC, None),
        Row(GROUP, Remote(A4), State.STATIC, None),
        Row(GROUP, Remote(B4), State.STATIC, None),
        Row(MAC_A, Remote(B4), State.STATIC, None),
        Row(MAC_B, Local(1), State.LOCAL, None),
        Row(MAC_C, Remote(A4), State.DYNAMIC, 10),
        Row(bytes.fromhex("020000000004"), Remote(B4), State.DYNAMIC, 9),
        Row(bytes.fromhex("020000000005"), Local(1), State.LOCAL, 8),
    ]


def test_rows_leave_out_the_aged() -> None:
    states = [row.state for row in full().rows(AGEING + SECOND)]
    assert states == [*[State.STATIC] * 4, State.LOCAL, State.LOCAL]


def test_remove_port() -> None:
    fdb = full()
    fdb.remove_port(1)
    assert all(isinstance(row.where, Remote) for row in fdb.rows(0))
    assert fdb.entry_count == 5


# ---- size ----


def test_a_full_table_under_a_flood_of_new_addresses_stays_quick() -> None:
    """Neither a refusal at the cap nor the removal of the oldest row walks the table."""
    count = 100_000
    fdb = new(max_entries=count, ageing=count)
    macs = [(0x020000000000 + n).to_bytes(6, "big") for n in range(2 * count)]
    for now in range(count):
        fdb.learn(macs[now], Remote(A4), now)
    start = perf_counter()
    for now in range(count, 2 * count):  # each makes room for itself
        fdb.learn(macs[now], Remote(A4), now)
        assert fdb.entry_count == count
    for mac in macs[:count]:  # and these find none
        fdb.learn(mac, Remote(A4), 2 * count - 1)
    # Under a second; walking 100,000 rows, or their holes, 200,000 times would take minutes.
    assert perf_counter() - start < 20
    assert fdb.entry_count == count
    assert fdb.lookup(macs[count], 2 * count - 1) == Remote(A4)


# ---- against a model ----


@dataclass
class Model:
    """What the table should be, with no thought of speed."""

    learned: dict[bytes, tuple[Remote | Local, int]] = field(default_factory=dict)
    static: dict[bytes, bytes] = field(default_factory=dict)
    groups: dict[bytes, list[bytes]] = field(default_factory=dict)
    own: dict[bytes, int] = field(default_factory=dict)


STATIONS = [bytes((2, 0, 0, 0, 0, n)) for n in range(6)]
MACS = st.sampled_from(STATIONS)
GROUPS = st.sampled_from([FLOOD, GROUP, BROADCAST])
VTEPS = st.sampled_from([A4, B4, A6])
PLACES = st.one_of(VTEPS.map(Remote), st.integers(0, 2).map(Local))


class FdbAgainstModel(RuleBasedStateMachine):
    ageing = 10
    max_entries = 3

    def __init__(self) -> None:
        super().__init__()
        self.fdb = new(ageing=self.ageing, max_entries=self.max_entries)
        self.model = Model()
        self.now = 0

    def forget_aged(self) -> None:
        learned = self.model.learned
        for mac in [m for m, (_, then) in learned.items() if self.now - then >= self.ageing]:
            del learned[mac]

    @rule(step=st.integers(0, 6))
    def time_passes(self, step: int) -> None:
        self.now += step
        self.forget_aged()

    @rule()
    def age(self) -> None:
        self.fdb.age(self.now)
        model = self.model
        groups = sum(len(vteps) for mac, vteps in model.groups.items() if mac != FLOOD)
        rows = len(model.learned) + len(model.static) + len(model.own) + groups
        assert self.fdb.entry_count == rows

    @rule(mac=MACS, where=PLACES)
    def learn(self, mac: bytes, where: Remote | Local) -> None:
        model = self.model
        fixed: Remote | Local | None = None
        if mac in model.own:
            fixed = Local(model.own[mac])
        elif mac in model.static:
            fixed = Remote(model.static[mac])
        expected = None if fixed in {None, where} else Reason.STATIC_MOVED
        assert dropped(self.fdb.learn, mac, where, self.now) is expected
        if fixed is None and (mac in model.learned or len(model.learned) < self.max_entries):
            model.learned[mac] = (where, self.now)

    @rule(mac=MACS, vtep=VTEPS)
    def add(self, mac: bytes, vtep: bytes) -> None:
        if mac in self.model.own:
            with pytest.raises(ValueError, match="address of a port"):
                self.fdb.add(mac, vtep)
            return
        self.fdb.add(mac, vtep)
        self.model.learned.pop(mac, None)
        self.model.static[mac] = vtep

    @rule(mac=GROUPS, vtep=VTEPS)
    def append(self, mac: bytes, vtep: bytes) -> None:
        self.fdb.add(mac, vtep)
        vteps = self.model.groups.setdefault(mac, [])
        if vtep not in vteps:
            vteps.append(vtep)

    @rule(mac=MACS, port=st.integers(0, 2))
    def add_permanent(self, mac: bytes, port: int) -> None:
        self.fdb.add_permanent(mac, port)
        self.model.learned.pop(mac, None)
        self.model.static.pop(mac, None)
        self.model.own[mac] = port

    @rule(port=st.integers(0, 2))
    def remove_port(self, port: int) -> None:
        self.fdb.remove_port(port)
        model = self.model
        model.own = {m: p for m, p in model.own.items() if p != port}
        model.learned = {m: e for m, e in model.learned.items() if e[0] != Local(port)}

    @rule(mac=MACS, vtep=st.none() | VTEPS)
    def delete(self, mac: bytes, vtep: bytes | None) -> None:
        model = self.model
        expected = False
        if mac in model.static and vtep in {None, model.static[mac]}:
            del model.static[mac]
            expected = True
        elif mac in model.learned and (vtep is None or model.learned[mac][0] == Remote(vtep)):
            del model.learned[mac]
            expected = True
        self.fdb.age(self.now)  # deleting an aged row that is still there would be true as well
        assert self.fdb.delete(mac, vtep) == expected

    @rule(mac=GROUPS, vtep=st.none() | VTEPS)
    def delete_group(self, mac: bytes, vtep: bytes | None) -> None:
        before = self.model.groups.get(mac, [])
        after = [v for v in before if vtep not in {None, v}]
        assert self.fdb.delete(mac, vtep) == (before != after)
        self.model.groups[mac] = after

    @precondition(lambda self: self.now % 3 == 0)  # seldom, so that the table fills
    @rule(vtep=st.none() | VTEPS, static=st.booleans())
    def flush(self, vtep: bytes | None, static: bool) -> None:
        self.fdb.flush(vtep, static=static)
        model = self.model
        gone = {Remote(vtep)} if vtep else {e[0] for e in model.learned.values()}
        model.learned = {m: e for m, e in model.learned.items() if e[0] not in gone}
        if static:
            model.static = {m: v for m, v in model.static.items() if vtep not in {None, v}}
            for mac in set(model.groups) - {FLOOD}:
                model.groups[mac] = [v for v in model.groups[mac] if vtep not in {None, v}]

    @invariant()
    def agree(self) -> None:
        model = self.model
        expected: dict[bytes, Remote | Local] = {m: e[0] for m, e in model.learned.items()}
        expected |= {m: Remote(v) for m, v in model.static.items()}
        expected |= {m: Local(p) for m, p in model.own.items()}
        for mac in STATIONS:
            assert self.fdb.lookup(mac, self.now) == expected.get(mac)
        flood = model.groups.get(FLOOD, [])
        for mac in (FLOOD, GROUP, BROADCAST):
            vteps = model.groups.get(mac) or flood
            assert self.fdb.replication(mac) == tuple(vteps)
        assert self.fdb.flood == tuple(flood)
        rows = self.fdb.rows(self.now)
        unicast = {row.mac: row.where for row in rows if row.mac != FLOOD and not row.mac[0] & 1}
        assert unicast == expected
        assert len(rows) == len(expected) + sum(map(len, model.groups.values()))
        assert len([r for r in rows if r.age_seconds is not None]) == len(model.learned)


TestFdbAgainstModel = FdbAgainstModel.TestCase
TestFdbAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_adding_tells_which_other_vtep_it_replaced() -> None:
    fdb = Fdb(learning=True, ageing=0, max_entries=0)
    mac, group, one, two = b"\2" + bytes(5), b"\3" + bytes(5), b"\n\xfe\0\1", b"\n\xfe\0\2"
    assert fdb.add(mac, one) is None
    assert fdb.add(mac, one) is None
    assert fdb.add(mac, two) == one
    for several in (group, FLOOD):
        assert fdb.add(several, one) is None
        assert fdb.add(several, two) is None


# ---- moves ----


def test_a_move_is_remembered_with_how_often_and_when_last() -> None:
    fdb = new()
    places: list[Remote | Local] = [Remote(A4), Remote(A4), Local(1), Remote(B6), Local(1)]
    for now, where in enumerate(places):
        fdb.learn(MAC_A, where, now)
        fdb.learn(MAC_B, Local(2), now)
    assert list(fdb.moves) == [Move(MAC_A, Remote(B6), Local(1), 4, 3, 0, 2, 3)]
    fdb.learn(MAC_B, Local(1), 5)
    fdb.learn(MAC_A, Remote(A4), 6)
    assert [move.mac for move in fdb.moves] == [MAC_B, MAC_A]
    # What is deleted or flushed has moved all the same.
    fdb.flush()
    assert [move.times for move in fdb.moves] == [1, 4]


def test_what_was_forgotten_does_not_move() -> None:
    """Aged rows, whether they were taken out or not, and static ones."""
    fdb = new()
    for take_out in (False, True):
        fdb.learn(MAC_A, Remote(A4), 0 if not take_out else AGEING)
        if take_out:
            fdb.age(2 * AGEING)
        fdb.learn(MAC_A, Remote(B4), AGEING if not take_out else 2 * AGEING)
        fdb.delete(MAC_A)
    fdb.learn(MAC_B, Local(1), 2 * AGEING)
    fdb.add(MAC_B, B4)
    fdb.learn(MAC_B, Remote(B4), 2 * AGEING)
    assert list(fdb.moves) == []


def test_a_station_that_moves_too_often_is_held_where_it_is() -> None:
    fdb = new()
    fdb.move_limit = 3
    second = 10**9
    places: list[Remote | Local] = [Remote(A4), Local(1), Remote(A4), Local(1)]
    for now, where in enumerate(places):
        fdb.learn(MAC_A, where, now * second)
    with pytest.raises(Drop) as held:
        fdb.learn(MAC_A, Remote(A4), 100 * second)
    assert held.value.reason is Reason.MOVE_DAMPED
    fdb.learn(MAC_A, Local(1), 100 * second)
    assert fdb.lookup(MAC_A, 100 * second) == Local(1)
    (move,) = fdb.moves
    assert (move.times, move.held_until) == (3, 183 * second)
    fdb.learn(MAC_A, Remote(A4), 183 * second)
    assert fdb.lookup(MAC_A, 183 * second) == Remote(A4)


def test_moves_that_are_far_apart_hold_nobody() -> None:
    fdb = new()
    fdb.move_limit = 2
    for n in range(6):
        fdb.learn(MAC_A, Local(n % 2), n * 180 * 10**9)
    assert fdb.lookup(MAC_A, 900 * 10**9) == Local(1)


def test_a_sticky_station_stays_until_it_has_aged() -> None:
    fdb = new()
    fdb.sticky = True
    fdb.learn(MAC_A, Local(1), 0)
    with pytest.raises(Drop) as refused:
        fdb.learn(MAC_A, Remote(A4), fdb.ageing - 1)
    assert refused.value.reason is Reason.STICKY_MOVED
    fdb.learn(MAC_A, Remote(A4), fdb.ageing)
    assert fdb.lookup(MAC_A, fdb.ageing) == Remote(A4)
    assert list(fdb.moves) == []

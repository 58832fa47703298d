"""native/fdb.c against its Python twin: the same frames and edits, the same answers and rows."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.native.parts import build_parts
from tests.native.scarce import SCARCE_CDEF, scarce
from wgvx.drops import Drop, Reason
from wgvx.vxlan.fdb import FLOOD, Fdb, Local, Remote, Row, State
from wgvx.vxlan.moves import MOVES_KEPT, Move

ffi, lib = build_parts(
    "fdb",
    SCARCE_CDEF
    + """
    struct place { uint8_t vtep_length; uint8_t vtep[16]; uint32_t port; };
    enum fdb_state { FDB_DYNAMIC, FDB_STATIC, FDB_LOCAL };
    struct fdb_row { uint8_t mac[6]; uint8_t state; struct place where; int64_t age_seconds; };
    struct vteps { uint32_t count; struct place *places; };

    struct fdb_settings {
        bool learning, sticky; uint64_t ageing; uint32_t max_entries, move_limit;
    };
    struct fdb *fdb_new(const struct fdb_settings *);
    void fdb_set(struct fdb *, const struct fdb_settings *);
    void fdb_free(struct fdb *);
    enum fdb_learned { FDB_LEARNED, FDB_IS_STATIC, FDB_IS_STICKY, FDB_IS_HELD };
    enum fdb_learned fdb_learn(struct fdb *, const uint8_t *mac, const struct place *,
                               uint64_t now);
    bool fdb_lookup(struct fdb *, const uint8_t *mac, uint64_t now, struct place *);
    const struct vteps *fdb_replication(const struct fdb *, const uint8_t *mac);
    int fdb_add(struct fdb *, const uint8_t *mac, const struct place *, struct place *replaced);
    bool fdb_delete(struct fdb *, const uint8_t *mac, const struct place *);
    size_t fdb_flush(struct fdb *, const struct place *, bool static_too);
    bool fdb_add_permanent(struct fdb *, const uint8_t *mac, uint32_t port);
    void fdb_remove_port(struct fdb *, uint32_t port);
    size_t fdb_age(struct fdb *, uint64_t now);
    size_t fdb_entry_count(const struct fdb *);
    struct fdb_move {
        uint8_t mac[6]; struct place from, to; uint64_t at, times, held_until, window;
        uint32_t recent;
    };
    uint32_t fdb_moves(const struct fdb *, struct fdb_move *out, uint32_t room);
    uint64_t fdb_move_count(const struct fdb *);
    bool fdb_has_group(const struct fdb *, const uint8_t *mac);
    bool fdb_learning(const struct fdb *);

    size_t rows(struct fdb *, uint64_t now, struct fdb_row *out, size_t room);
    uint32_t capacity(struct fdb *);
    void learn_many(struct fdb *, const uint8_t (*macs)[6], size_t, const struct place *,
                    uint64_t now);
    long threads(struct fdb *, int count, long turns);
    """,
    [],
    source=scarce("fdb_table.c")
    + """
    #include "fdb_groups.c"
    #include "fdb_moves.c"
    #include "fdb.c"

    struct rows { struct fdb_row *out; size_t room, count; };

    static void keep(const struct fdb_row *row, void *with)
    {
        struct rows *rows = with;
        if (rows->count < rows->room)
            rows->out[rows->count] = *row;
        rows->count++;
    }

    static size_t rows(struct fdb *fdb, uint64_t now, struct fdb_row *out, size_t room)
    {
        struct rows rows = {out, room, 0};
        fdb_rows(fdb, now, keep, &rows);
        return rows.count;
    }

    static uint32_t capacity(struct fdb *fdb)
    {
        return fdb->table.storage->capacity;
    }

    static void learn_many(struct fdb *fdb, const uint8_t (*macs)[6], size_t count,
                           const struct place *where, uint64_t now)
    {
        for (size_t i = 0; i < count; i++)
            fdb_learn(fdb, macs[i], where, now);
    }

    struct worker { pthread_t thread; struct fdb *fdb; long turns; uint64_t random; long wrong; };

    /* A MAC ends in the number that its VTEPs have in all their bytes, but for the upper bit. */
    static void *work(void *with)
    {
        struct worker *worker = with;
        for (long i = 0; i < worker->turns; i++) {
            worker->random = worker->random * 6364136223846793005u + 1442695040888963407u;
            uint64_t r = worker->random ^ worker->random >> 32;
            uint8_t number = r >> 8 & 0x7F, mac[6] = {2, 0, 0, r & 1 ? 0 : r >> 20, 0, number};
            struct place place = {.vtep_length = 16};
            memset(place.vtep, number | (r & 0x10) << 3, sizeof place.vtep);
            if (r & 2)
                worker->wrong += fdb_learn(worker->fdb, mac, &place, 1 + i / 64);
            else if (fdb_lookup(worker->fdb, mac, 1 + i / 64, &place))
                for (int k = 0; k < 16; k++)
                    worker->wrong += place.vtep[k] != place.vtep[0] ||
                                     (place.vtep[k] & 0x7F) != number || place.vtep_length != 16;
        }
        return NULL;
    }

    static long threads(struct fdb *fdb, int count, long turns)
    {
        struct worker workers[16];
        long wrong = 0;
        for (int i = 0; i < count; i++) {
            workers[i] = (struct worker){.fdb = fdb, .turns = turns, .random = i};
            pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        }
        for (int i = 0; i < count; i++) {
            pthread_join(workers[i].thread, NULL);
            wrong += workers[i].wrong;
        }
        return wrong;
    }
    """,
)

SECOND = 10**9
STATES = [State.DYNAMIC, State.STATIC, State.LOCAL]

Place = Remote | Local


def packed(where: Place | bytes) -> Any:
    """A struct place; what means nothing in it is set, to show that it means nothing."""
    place = ffi.new("struct place *", {"vtep": b"\xa5" * 16, "port": 0xA5A5})
    if isinstance(where, Local):
        place.port = where.port
        return place
    vtep = where.vtep if isinstance(where, Remote) else where
    place.vtep_length = len(vtep)
    ffi.buffer(place.vtep)[: len(vtep)] = vtep
    return place


def unpacked(place: Any) -> Place:
    if not place.vtep_length:
        assert not any(place.vtep)
        return Local(place.port)
    vtep = bytes(place.vtep)
    assert place.port == 0
    assert not any(vtep[place.vtep_length :])
    return Remote(vtep[: place.vtep_length])


REFUSALS = {
    lib.FDB_IS_STATIC: Reason.STATIC_MOVED,
    lib.FDB_IS_STICKY: Reason.STICKY_MOVED,
    lib.FDB_IS_HELD: Reason.MOVE_DAMPED,
}


class Native:
    """The twin's interface."""

    def __init__(self, *, learning: bool, ageing: int, max_entries: int) -> None:
        settings = ffi.new("struct fdb_settings *", (learning, False, ageing, max_entries, 0))
        self.fdb = ffi.gc(lib.fdb_new(settings), lib.fdb_free)
        assert self.fdb != ffi.NULL

    def set(self, settings: tuple[bool, bool, int, int, int]) -> None:
        """learning, sticky, ageing, max_entries, move_limit"""
        lib.fdb_set(self.fdb, ffi.new("struct fdb_settings *", settings))

    def learn(self, mac: bytes, where: Place, now: int) -> None:
        if learned := lib.fdb_learn(self.fdb, mac, packed(where), now):
            raise Drop(REFUSALS[learned])

    def group(self, mac: bytes) -> tuple[bytes, ...]:
        return self.replication(mac) if lib.fdb_has_group(self.fdb, mac) else ()

    def lookup(self, mac: bytes, now: int) -> Place | None:
        place = ffi.new("struct place *")
        return unpacked(place) if lib.fdb_lookup(self.fdb, mac, now, place) else None

    def replication(self, mac: bytes) -> tuple[bytes, ...]:
        vteps = lib.fdb_replication(self.fdb, mac)
        places = [unpacked(vteps.places[i]) for i in range(vteps.count)]
        return tuple(place.vtep for place in places if isinstance(place, Remote))

    def add(self, mac: bytes, vtep: bytes) -> bytes | None:
        before = ffi.new("struct place *")
        result = lib.fdb_add(self.fdb, mac, packed(vtep), before)
        if result == -1:
            raise MemoryError
        if result == -2:
            raise ValueError
        if result == 0:
            return None
        place = unpacked(before)
        assert isinstance(place, Remote)
        return place.vtep

    def delete(self, mac: bytes, vtep: bytes | None) -> bool:
        return bool(lib.fdb_delete(self.fdb, mac, ffi.NULL if vtep is None else packed(vtep)))

    def flush(self, vtep: bytes | None, static: bool) -> int:
        return int(lib.fdb_flush(self.fdb, ffi.NULL if vtep is None else packed(vtep), static))

    def add_permanent(self, mac: bytes, port: int) -> None:
        if not lib.fdb_add_permanent(self.fdb, mac, port):
            raise MemoryError

    def remove_port(self, port: int) -> None:
        lib.fdb_remove_port(self.fdb, port)

    def age(self, now: int) -> int:
        return int(lib.fdb_age(self.fdb, now))

    @property
    def moves(self) -> list[Move]:
        out = ffi.new("struct fdb_move[]", MOVES_KEPT)
        number = lib.fdb_moves(self.fdb, out, MOVES_KEPT)
        return [
            Move(
                bytes(m.mac),
                *(unpacked(getattr(m, "from")), unpacked(m.to)),
                *(m.at, m.times, m.held_until, m.window, m.recent),
            )
            for m in out[0:number]
        ]

    @property
    def move_count(self) -> int:
        return int(lib.fdb_move_count(self.fdb))

    @property
    def entry_count(self) -> int:
        return int(lib.fdb_entry_count(self.fdb))

    def rows(self, now: int) -> list[Row]:
        room = lib.rows(self.fdb, now, ffi.NULL, 0)
        out = ffi.new("struct fdb_row[]", room)
        assert lib.rows(self.fdb, now, out, room) == room
        return [
            Row(
                bytes(row.mac),
                unpacked(row.where),
                STATES[row.state],
                None if row.age_seconds < 0 else row.age_seconds,
            )
            for row in out
        ]


def outcome(table: Native | Fdb, name: str, *arguments: Any) -> Any:
    """What a call returned or raised."""
    try:
        return getattr(table, name)(*arguments)
    except Drop as drop:
        return drop.reason
    except (ValueError, MemoryError) as error:
        return type(error)


class Pair:
    """Both, asked and edited alike."""

    def __init__(self, *, learning: bool = True, ageing: int = 0, max_entries: int = 0) -> None:
        self.native = Native(learning=learning, ageing=ageing, max_entries=max_entries)
        self.twin = Fdb(learning=learning, ageing=ageing, max_entries=max_entries)

    def set(self, settings: tuple[bool, bool, int, int, int]) -> None:
        self.native.set(settings)
        twin = self.twin
        twin.learning, twin.sticky, twin.ageing, twin.max_entries, twin.move_limit = settings

    def both(self, name: str, *arguments: Any) -> Any:
        answer = outcome(self.native, name, *arguments)
        assert answer == outcome(self.twin, name, *arguments), (name, arguments)
        return answer

    def with_little_memory(self, allowed: int, name: str, *arguments: Any) -> None:
        """Refused memory, a call says so, or does not learn, and changes nothing."""
        lib.refused = 0
        lib.allocations_left = allowed
        answer = outcome(self.native, name, *arguments)
        lib.allocations_left = -1
        if not lib.refused:
            assert answer == outcome(self.twin, name, *arguments)
        elif name == "learn":
            assert answer is None
        else:
            assert answer is MemoryError

    def compare(self, now: int) -> None:
        assert self.native.entry_count == self.twin.entry_count
        assert self.native.rows(now) == self.twin.rows(now)
        assert self.native.moves == list(self.twin.moves)
        assert self.native.move_count == self.twin.moves.total
        for mac in GROUPS:
            assert self.native.group(mac) == self.twin.group(mac)


def station(number: int) -> bytes:
    return b"\x02" + number.to_bytes(5, "big")


def group(number: int) -> bytes:
    return b"\x01\0\x5e\0\0" + bytes([number])


# Few of each, so that what was done to one meets what is done to it next.
MACS = [station(i) for i in range(5)]
GROUPS = [FLOOD, group(0), group(1)]
VTEPS = [bytes([10, 0, 0, i]) for i in range(3)] + [bytes([10, 0, 0, 1]) + bytes(12), b"\xfd" * 16]

macs = st.sampled_from(MACS)
any_macs = st.one_of(macs, macs, st.sampled_from(GROUPS))
vteps = st.sampled_from(VTEPS)
ports = st.integers(0, 2)
places = st.one_of(vteps.map(Remote), ports.map(Local))


class Frames(RuleBasedStateMachine):
    @initialize(
        learning=st.sampled_from([True, True, True, False]),
        ageing=st.sampled_from([0, 3, 5 * SECOND]),
        max_entries=st.sampled_from([0, 1, 5, 17, 40]),
    )
    def start(self, learning: bool, ageing: int, max_entries: int) -> None:
        self.now = 0
        self.pair = Pair(learning=learning, ageing=ageing, max_entries=max_entries)
        assert lib.fdb_learning(self.pair.native.fdb) == learning

    @rule(
        settings=st.tuples(
            st.sampled_from([True, True, True, False]),
            st.sampled_from([False, False, True]),
            st.sampled_from([0, 3, 5 * SECOND]),
            st.sampled_from([0, 1, 5, 17, 40]),
            st.sampled_from([0, 1, 2, 5]),
        )
    )
    def set(self, settings: tuple[bool, bool, int, int, int]) -> None:
        self.pair.set(settings)

    @rule(step=st.sampled_from([1, 2, 3, 180 * SECOND, SECOND - 1, SECOND, 3 * SECOND, 5 * SECOND]))
    def wait(self, step: int) -> None:
        self.now += step

    @rule(mac=any_macs, where=places)
    def learn(self, mac: bytes, where: Place) -> None:
        self.pair.both("learn", mac, where, self.now)

    @rule(first=st.integers(0, 40), count=st.integers(1, 30), where=places)
    def learn_many(self, first: int, count: int, where: Place) -> None:
        for number in range(first, first + count):
            self.pair.both("learn", station(number), where, self.now)

    @rule(mac=any_macs, where=places, allowed=st.integers(0, 1))
    def learn_with_little_memory(self, mac: bytes, where: Place, allowed: int) -> None:
        self.pair.with_little_memory(allowed, "learn", mac, where, self.now)

    @rule(mac=any_macs)
    def look_up(self, mac: bytes) -> None:
        self.pair.both("lookup", mac, self.now)

    @rule(mac=any_macs, vtep=vteps)
    def add(self, mac: bytes, vtep: bytes) -> None:
        self.pair.both("add", mac, vtep)

    @rule(first=st.integers(0, 40), count=st.integers(1, 20), vtep=vteps)
    def add_many(self, first: int, count: int, vtep: bytes) -> None:
        for number in range(first, first + count):
            self.pair.both("add", station(number), vtep)

    @rule(first=st.integers(0, 10), count=st.integers(1, 15), vtep=vteps)
    def add_many_groups(self, first: int, count: int, vtep: bytes) -> None:
        for number in range(first, first + count):
            self.pair.both("add", group(number), vtep)

    @rule(mac=any_macs, vtep=vteps, allowed=st.integers(0, 2))
    def add_with_little_memory(self, mac: bytes, vtep: bytes, allowed: int) -> None:
        self.pair.with_little_memory(allowed, "add", mac, vtep)

    @rule(mac=any_macs, vtep=st.none() | vteps)
    def delete(self, mac: bytes, vtep: bytes | None) -> None:
        self.pair.both("delete", mac, vtep)

    @rule(mac=any_macs, vtep=vteps, port=ports, permanent=st.booleans())
    def add_and_delete(self, mac: bytes, vtep: bytes, port: int, permanent: bool) -> None:
        """A row's whole life at once: chance puts it together too seldom."""
        if permanent:
            self.pair.both("add_permanent", mac, port)
        else:
            self.pair.both("add", mac, vtep)
        self.pair.both("delete", mac, vtep)
        self.pair.compare(self.now)
        self.pair.both("delete", mac, None)

    @rule(vtep=st.none() | vteps, static=st.booleans())
    def flush(self, vtep: bytes | None, static: bool) -> None:
        self.pair.both("flush", vtep, static)

    @rule(mac=any_macs, port=ports)
    def add_permanent(self, mac: bytes, port: int) -> None:
        self.pair.both("add_permanent", mac, port)

    @rule(mac=macs, port=ports)
    def add_permanent_with_little_memory(self, mac: bytes, port: int) -> None:
        self.pair.with_little_memory(0, "add_permanent", mac, port)

    @rule(port=ports)
    def remove_port(self, port: int) -> None:
        self.pair.both("remove_port", port)

    @rule()
    def age(self) -> None:
        self.pair.both("age", self.now)

    @invariant()
    def same_rows(self) -> None:
        if not hasattr(self, "pair"):
            return
        self.pair.compare(self.now)
        for mac in (*GROUPS, group(7), MACS[0]):
            self.pair.both("replication", mac)
        for mac in MACS:
            self.pair.both("lookup", mac, self.now)


TestFrames = Frames.TestCase
TestFrames.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("max_entries", [0, 3000])
def test_long_runs(max_entries: int) -> None:
    """Through growth, cap, ageing and shrinking, by thousands."""
    chance, now = random.Random(max_entries), 0
    pair = Pair(ageing=20 * SECOND, max_entries=max_entries)
    for turn in range(60):
        for _ in range(400):
            number = chance.randrange(400 if turn % 20 < 10 else 6000)
            where = Remote(chance.choice(VTEPS)) if number % 7 else Local(number % 5)
            pair.both("learn", station(number), where, now)
            pair.both("lookup", station(chance.randrange(6000)), now)
            if not number % 50:
                pair.both("delete", station(number + 1), None)
            now += chance.randrange(2) * SECOND // 500
        if turn % 5 == 4:
            now += chance.choice([SECOND, 15 * SECOND, 19 * SECOND, 25 * SECOND])
            pair.both("add", station(turn), VTEPS[turn % 4])
            pair.both("age", now)
        if turn % 13 == 12:
            pair.both("flush", chance.choice([None, *VTEPS]), False)
        pair.compare(now)


def test_a_group_that_lost_its_last_vtep_is_flooded_and_comes_last_when_it_is_back() -> None:
    pair = Pair()
    for mac, vtep in ((FLOOD, 0), (GROUPS[1], 1), (GROUPS[2], 2), (GROUPS[1], 3)):
        pair.both("add", mac, VTEPS[vtep])
    for vtep in (1, 3):
        assert pair.both("delete", GROUPS[1], VTEPS[vtep])
        pair.compare(0)
        pair.both("replication", GROUPS[1])
    assert pair.native.replication(GROUPS[1]) == (VTEPS[0],)
    pair.both("add", GROUPS[1], VTEPS[1])
    pair.compare(0)


def test_room_grows_with_entries_to_the_cap_and_is_given_back() -> None:
    native = Native(learning=True, ageing=SECOND, max_entries=5000)
    lengths = set()
    for number in range(6000):
        native.learn(station(number), Local(1), 0)
        lengths.add(lib.capacity(native.fdb))
    assert native.entry_count == 5000
    assert min(lengths) == 16
    assert max(lengths) == 5001  # and one static row
    for number in range(6000, 6100):
        native.add(station(number), VTEPS[0])
    assert lib.capacity(native.fdb) <= 5000 + 128
    assert native.age(SECOND) == 5000
    assert lib.capacity(native.fdb) < 256
    assert native.entry_count == 100
    assert native.lookup(station(6099), 0) == Remote(VTEPS[0])


def test_the_seed_is_each_tables_own_and_shows_in_no_order() -> None:
    rows = []
    for _ in range(3):
        native = Native(learning=True, ageing=0, max_entries=0)
        for number in range(100):
            native.learn(station(number * 37 % 100), Local(number), number)
            native.add(b"\x01" + bytes([number * 13 % 100]) * 5, VTEPS[0])
        rows.append(native.rows(100))
    assert rows[0] == rows[1] == rows[2]


def test_clocks_that_differ_a_little_age_nothing() -> None:
    """Two threads: one read the clock before the other, and comes later."""
    native = Native(learning=True, ageing=SECOND, max_entries=0)
    native.learn(MACS[0], Local(1), 1000)
    assert native.lookup(MACS[0], 999) == Local(1)
    assert native.age(999) == 0
    native.learn(MACS[0], Local(2), 999)
    assert native.rows(999) == [Row(MACS[0], Local(2), State.LOCAL, 0)]
    assert native.lookup(MACS[0], 999 + SECOND) == Local(2)
    assert native.lookup(MACS[0], 1000 + SECOND) is None


def test_a_million_learned_entries() -> None:
    count = 1_000_000
    macs = ffi.new("uint8_t[][6]", count)
    content = b"".join(station(number * 2_654_435_761 % 2**40) for number in range(count))
    ffi.buffer(macs)[:] = content
    native = Native(learning=True, ageing=10, max_entries=count)
    lib.learn_many(native.fdb, macs, count, packed(VTEPS[0]), 1)
    assert native.entry_count == count
    lib.learn_many(native.fdb, macs, count // 2, packed(VTEPS[1]), 2)  # move and refresh the first
    assert native.entry_count == count
    native.learn(b"\x06" * 6, Local(1), 5)  # at the cap: nothing is old enough
    assert native.lookup(b"\x06" * 6, 5) is None
    for number in random.Random(1).sample(range(count), 2000):
        mac = content[number * 6 : number * 6 + 6]
        assert native.lookup(mac, 5) == Remote(VTEPS[number < count // 2])
    native.learn(b"\x06" * 6, Local(1), 11)  # half of them are old enough
    assert native.entry_count == count // 2 + 1
    assert native.lookup(content[-6:], 11) is None
    assert native.lookup(content[:6], 11) == Remote(VTEPS[1])
    assert native.flush(VTEPS[0], False) == 0
    assert native.flush(None, False) == count // 2 + 1
    assert native.rows(11) == []


@pytest.mark.parametrize(("ageing", "max_entries"), [(0, 0), (100, 300), (5, 150)])
def test_threads_see_whole_rows_only(ageing: int, max_entries: int) -> None:
    native = Native(learning=True, ageing=ageing, max_entries=max_entries)
    assert lib.threads(native.fdb, 4, 200_000) == 0
    rows = native.rows(0)
    assert len({row.mac for row in rows}) == len(rows) == native.entry_count
    assert not max_entries or len(rows) <= max_entries
    assert native.age(10**15) == (len(rows) if ageing else 0)


def test_moves_are_remembered_of_so_many_stations() -> None:
    """Those that moved last, in that order, each with all that it did."""
    pair = Pair()
    rng = random.Random(1)
    for now in range(3000):
        number = rng.randrange(2 * MOVES_KEPT if now % 3 else 5)
        pair.both("learn", station(number), Local(rng.randrange(3)), now)
        if now % 100 == 0:
            pair.compare(now)
    pair.compare(3000)
    assert len(pair.native.moves) == MOVES_KEPT
    assert max(move.times for move in pair.native.moves) > 100

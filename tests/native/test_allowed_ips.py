"""native/allowed_ips.c against its Python twin: the same edits, the same look-ups and lists."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.native.parts import build_parts
from tests.native.scarce import SCARCE_CDEF, scarce
from wgvx.wireguard.allowed_ips import AllowedIps, Prefix, masked

ffi, lib = build_parts(
    "allowed_ips",
    SCARCE_CDEF
    + """
    struct prefix_owner { struct prefix *first, *last; size_t count; };
    struct prefix {
        struct prefix_owner *owner;
        struct prefix *previous, *next;
        uint8_t address_length;
        uint8_t length;
        uint8_t network[16];
    };
    struct allowed_ips *allowed_ips_new(void);
    void allowed_ips_free(struct allowed_ips *);
    bool allowed_ips_insert(struct allowed_ips *, const uint8_t *network, unsigned address_length,
                            unsigned length, struct prefix_owner *);
    bool allowed_ips_remove(struct allowed_ips *, const uint8_t *network, unsigned address_length,
                            unsigned length, struct prefix_owner *);
    void allowed_ips_remove_owner(struct allowed_ips *, struct prefix_owner *);
    struct prefix_owner *allowed_ips_lookup(const struct allowed_ips *, const uint8_t *address,
                                            unsigned address_length);
    """,
    [],
    source=scarce("allowed_ips.c"),
)


class Native:
    """The twin's interface; ``insert`` tells whether there was memory."""

    def __init__(self, owners: int) -> None:
        self._table = ffi.gc(lib.allowed_ips_new(), lib.allowed_ips_free)
        self._owners = ffi.new("struct prefix_owner[]", owners)
        self._number = {self._owners + i: i for i in range(owners)}

    def insert(self, prefix: Prefix, peer: int) -> bool:
        network, length = prefix
        owner = self._owners + peer
        return bool(lib.allowed_ips_insert(self._table, network, len(network), length, owner))

    def remove(self, prefix: Prefix, peer: int) -> bool:
        network, length = prefix
        owner = self._owners + peer
        return bool(lib.allowed_ips_remove(self._table, network, len(network), length, owner))

    def remove_peer(self, peer: int) -> None:
        lib.allowed_ips_remove_owner(self._table, self._owners + peer)

    def lookup(self, address: bytes) -> int | None:
        found = lib.allowed_ips_lookup(self._table, address, len(address))
        return None if found == ffi.NULL else self._number[found]

    def of_peer(self, peer: int) -> list[Prefix]:
        owner = self._owners[peer]
        prefixes, back = [], []
        one = owner.first
        while one != ffi.NULL:
            assert one.owner == self._owners + peer
            network = bytes(one.network)
            assert not any(network[one.address_length :])
            prefixes.append((network[: one.address_length], one.length))
            one = one.next
        one = owner.last
        while one != ffi.NULL:
            back.append((bytes(one.network)[: one.address_length], one.length))
            one = one.previous
        assert back == prefixes[::-1]
        assert owner.count == len(prefixes)
        return prefixes


class Pair:
    """Both, edited alike."""

    def __init__(self, owners: int) -> None:
        self.owners = owners
        self.native, self.twin = Native(owners), AllowedIps()

    def insert(self, prefix: Prefix, peer: int) -> None:
        assert self.native.insert(prefix, peer)
        self.twin.insert(prefix, peer)

    def remove(self, prefix: Prefix, peer: int) -> None:
        assert self.native.remove(prefix, peer) == self.twin.remove(prefix, peer)

    def remove_peer(self, peer: int) -> None:
        self.native.remove_peer(peer)
        self.twin.remove_peer(peer)

    def compare_lists(self) -> None:
        for peer in range(self.owners):
            assert self.native.of_peer(peer) == list(self.twin.of_peer(peer))

    def compare_lookup(self, address: bytes) -> None:
        assert self.native.lookup(address) == self.twin.lookup(address), address.hex()


PEERS = 4
peers = st.integers(0, PEERS - 1)
# Few bytes, so that prefixes cover each other and addresses.
byte = st.sampled_from([0, 0, 1, 0x7F, 0x80, 0xFF])
addresses = st.one_of(
    st.lists(byte, min_size=4, max_size=4).map(bytes),
    st.lists(byte, min_size=16, max_size=16).map(bytes),
    st.builds(lambda tail: bytes(13) + bytes(tail), st.lists(byte, min_size=3, max_size=3)),
)
prefixes = st.builds(
    lambda address, part: masked(address, part * len(address) // 16),
    addresses,
    st.integers(0, 128),
)


class Edits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(PEERS)
        self.known: list[Prefix] = []

    @rule(prefix=prefixes, peer=peers)
    def insert(self, prefix: Prefix, peer: int) -> None:
        self.pair.insert(prefix, peer)
        self.known.append(prefix)

    @rule(base=addresses, peer=peers, choice=st.randoms(use_true_random=False))
    def insert_many(self, base: bytes, peer: int, choice: random.Random) -> None:
        for _ in range(40):
            address = base[:-2] + choice.randbytes(2)
            bits = len(base) * 8
            self.insert(masked(address, choice.randrange(bits - 17, bits + 1)), peer)

    @rule(prefix=prefixes, peer=peers, allowed=st.integers(0, 3))
    def insert_with_little_memory(self, prefix: Prefix, peer: int, allowed: int) -> None:
        lib.allocations_left = allowed
        lib.refused = 0
        inserted = self.pair.native.insert(prefix, peer)
        lib.allocations_left = -1
        assert inserted == (lib.refused == 0)
        if inserted:
            self.pair.twin.insert(prefix, peer)
            self.known.append(prefix)

    @rule(data=st.data(), peer=peers)
    def give_again(self, data: st.DataObject, peer: int) -> None:
        if self.known:
            self.pair.insert(data.draw(st.sampled_from(self.known)), peer)

    @rule(data=st.data(), peer=peers)
    def remove(self, data: st.DataObject, peer: int) -> None:
        for _ in range(min(len(self.known), 5)):
            self.pair.remove(data.draw(st.sampled_from(self.known)), peer)

    @rule(prefix=prefixes, peer=peers)
    def remove_any(self, prefix: Prefix, peer: int) -> None:
        self.pair.remove(prefix, peer)

    @rule(peer=peers)
    def remove_peer(self, peer: int) -> None:
        self.pair.remove_peer(peer)

    @rule(address=addresses)
    def look_up(self, address: bytes) -> None:
        self.pair.compare_lookup(address)

    @rule(data=st.data(), noise=st.integers(0, 2**128 - 1))
    def look_up_near(self, data: st.DataObject, noise: int) -> None:
        """The first, the last, one within, and the one after a prefix."""
        if not self.known:
            return
        network, length = data.draw(st.sampled_from(self.known))
        bits = len(network) * 8
        first, host = int.from_bytes(network, "big"), (1 << bits - length) - 1
        for number in (first, first | host, first | noise & host, (first + host + 1) % (1 << bits)):
            self.pair.compare_lookup(number.to_bytes(len(network), "big"))

    @invariant()
    def same_lists(self) -> None:
        self.pair.compare_lists()


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("base", [bytes([10, 1, 2, 0]), bytes(15) + b"\0", b"\xfd" + bytes(15)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_prefix_of_the_last_two_bytes(base: bytes, seed: int) -> None:
    """Nodes filled to the brim and emptied, in any order."""
    pair, chance, bits = Pair(PEERS), random.Random(seed), len(base) * 8
    everything = [masked(base, 0), masked(base, 1)] + [
        masked(base[:-1] + bytes([last]), length)
        for length in range(bits - 9, bits + 1)
        for last in range(0, 256, 1 << bits - length if bits - length < 8 else 256)
    ]
    chance.shuffle(everything)
    look_ups = [base[:-1] + bytes([last]) for last in range(256)] + [bytes([255]) * len(base)]
    for count, prefix in enumerate(everything):
        pair.insert(prefix, chance.randrange(PEERS))
        if not count % 37:
            for address in look_ups:
                pair.compare_lookup(address)
    chance.shuffle(everything)
    for count, prefix in enumerate(everything):
        for peer in range(PEERS):
            pair.remove(prefix, peer)
        if not count % 37:
            for address in look_ups:
                pair.compare_lookup(address)
            pair.compare_lists()
    assert [pair.native.of_peer(peer) for peer in range(PEERS)] == [[]] * PEERS


@pytest.mark.parametrize("bits", [32, 128])
def test_every_bit_of_every_length_counts(bits: int) -> None:
    """All prefixes with a single bit set: whatever a mask leaves out, two would be one."""
    pair = Pair(200)
    every = [
        masked((1 << bits - 1 - bit).to_bytes(bits // 8, "big"), length)
        for length in range(1, bits + 1)
        for bit in range(length)
    ]
    for number, prefix in enumerate(every):
        pair.insert(prefix, number % 200)
    for number, (network, length) in enumerate(every):
        pair.compare_lookup(network)
        if not number % 3:
            pair.remove((network, length), number % 200)
    pair.compare_lists()
    for network, _ in every:
        pair.compare_lookup(network)


def test_a_hundred_thousand_prefixes_of_many_peers() -> None:
    chance, owners = random.Random(7), 1000
    pair = Pair(owners)
    given_to: dict[Prefix, int] = {}
    for _ in range(100_000):
        if chance.random() < 0.5:
            prefix = masked(b"\x0a" + chance.randbytes(3), chance.randrange(8, 33))
        else:
            prefix = masked(b"\xfd\0" + chance.randbytes(14), chance.randrange(16, 129))
        peer = chance.randrange(owners)
        pair.insert(prefix, peer)
        given_to[prefix] = peer

    def compare() -> None:
        for network, length in chance.sample(sorted(given_to), 5000):
            host = (1 << len(network) * 8 - length) - 1
            number = int.from_bytes(network, "big") | chance.getrandbits(128) & host
            pair.compare_lookup(number.to_bytes(len(network), "big"))
        pair.compare_lists()

    compare()
    for prefix, peer in chance.sample(sorted(given_to.items()), 30_000):
        pair.remove(prefix, peer)
    for peer in range(0, owners, 3):
        pair.remove_peer(peer)
    compare()


def test_130560_prefixes_of_one_peer_taken_again_and_again() -> None:
    native = Native(2)
    every: list[Prefix] = [
        (bytes([10, a, b, c]), length)
        for a in range(255)
        for b in range(0, 256, 16)
        for c in range(0, 256, 16)
        for length in (29, 31)
    ]
    assert len(every) == 130_560
    for turn in range(4):
        for prefix in every:
            native.insert(prefix, turn % 2)
        assert native.of_peer(turn % 2) == every
        assert native.of_peer(1 - turn % 2) == []
    native.remove_peer(1)
    assert native.of_peer(1) == []
    assert native.lookup(bytes([10, 0, 0, 0])) is None


def test_freed_with_prefixes() -> None:
    owners = ffi.new("struct prefix_owner[2]")
    table = lib.allowed_ips_new()
    for i in range(100):
        assert lib.allowed_ips_insert(table, bytes([10, 0, 0, i]), 4, 32, owners + i % 2)
    lib.allowed_ips_free(table)
    lib.allowed_ips_free(ffi.NULL)
    assert [owner.count for owner in owners] == [50, 50]

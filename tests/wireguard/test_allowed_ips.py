"""Cryptokey routing against a linear scan over all prefixes."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx.wireguard.allowed_ips import AllowedIps, Prefix, masked

PEERS = st.integers(1, 4)


class Model:
    """A list of (prefix, peer) in the order of insertion, scanned from end to end."""

    def __init__(self) -> None:
        self.rows: list[tuple[Prefix, int]] = []

    def insert(self, prefix: Prefix, peer: int) -> None:
        if (prefix, peer) not in self.rows:
            self.rows = [row for row in self.rows if row[0] != prefix]
            self.rows.append((prefix, peer))

    def remove(self, prefix: Prefix, peer: int) -> bool:
        before = len(self.rows)
        self.rows = [row for row in self.rows if row != (prefix, peer)]
        return len(self.rows) < before

    def remove_peer(self, peer: int) -> None:
        self.rows = [row for row in self.rows if row[1] != peer]

    def replace(self, peer: int, prefixes: list[Prefix]) -> None:
        self.remove_peer(peer)
        for prefix in prefixes:
            self.insert(prefix, peer)

    def of_peer(self, peer: int) -> list[Prefix]:
        return [prefix for prefix, owner in self.rows if owner == peer]

    def lookup(self, address: bytes) -> int | None:
        best: tuple[int, int] | None = None
        text = ip_address(address)
        for (network, length), peer in self.rows:
            covers = len(network) == len(address) and text in ip_network((network, length))
            if covers and (best is None or length > best[0]):
                best = length, peer
        return best[1] if best else None


def nested(bits: int) -> st.SearchStrategy[bytes]:
    """Addresses whose prefixes nest and collide: few high bits, few low bits."""
    high = st.integers(0, 3).map(lambda n: n << bits - 2)
    low = st.integers(0, 3)
    return st.builds(lambda a, b: (a | b).to_bytes(bits // 8, "big"), high, low)


def lengths(bits: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, 2, 3, bits // 2, bits - 2, bits - 1, bits])


address = st.one_of(nested(32), nested(128), st.binary(min_size=4, max_size=4))
prefix = st.sampled_from([32, 128]).flatmap(
    lambda bits: st.builds(masked, nested(bits), lengths(bits))
)
operation = st.one_of(
    st.tuples(st.just("insert"), prefix, PEERS),
    st.tuples(st.just("remove"), prefix, PEERS),
    st.tuples(st.just("remove_peer"), PEERS),
    st.tuples(st.just("replace"), PEERS, st.lists(prefix, max_size=4)),
)


@given(st.lists(operation, max_size=40), st.lists(address, min_size=1, max_size=20))
def test_agrees_with_the_model(operations: list[tuple[Any, ...]], addresses: list[bytes]) -> None:
    table, model = AllowedIps(), Model()
    for name, *arguments in operations:
        assert getattr(table, name)(*arguments) == getattr(model, name)(*arguments)
        for candidate in addresses:
            assert table.lookup(candidate) == model.lookup(candidate)
    for peer in range(1, 5):
        assert list(table.of_peer(peer)) == model.of_peer(peer)


def parse(text: str) -> Prefix:
    network = ip_network(text)
    return network.network_address.packed, network.prefixlen


def at(text: str) -> bytes:
    return ip_address(text).packed


def test_the_longest_prefix_wins_whatever_the_order() -> None:
    rows = [("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.1.0.0/16", 3), ("10.1.2.3/32", 4)]
    for seed in range(10):
        table = AllowedIps()
        for text, peer in random.Random(seed).sample(rows, len(rows)):
            table.insert(parse(text), peer)
        wanted = {"9.9.9.9": 1, "10.9.9.9": 2, "10.1.9.9": 3, "10.1.2.3": 4}
        assert {text: table.lookup(at(text)) for text in wanted} == wanted


def test_a_removed_prefix_uncovers_the_one_around_it() -> None:
    table = AllowedIps()
    table.insert(parse("2001:db8::/32"), 1)
    table.insert(parse("2001:db8:1::/48"), 2)
    assert table.lookup(at("2001:db8:1::1")) == 2
    assert not table.remove(parse("2001:db8:1::/48"), 1)
    assert table.remove(parse("2001:db8:1::/48"), 2)
    assert table.lookup(at("2001:db8:1::1")) == 1
    assert table.lookup(at("2001:db9::1")) is None


def test_a_prefix_moves_to_the_peer_that_is_given_it_last() -> None:
    table = AllowedIps()
    table.insert(parse("10.0.0.0/24"), 1)
    table.insert(parse("10.0.0.0/24"), 2)
    assert list(table.of_peer(1)) == []
    table.remove_peer(1)
    assert table.lookup(at("10.0.0.9")) == 2


def test_families_do_not_mix() -> None:
    table = AllowedIps()
    table.insert(parse("0.0.0.0/0"), 1)
    assert table.lookup(at("::ffff:10.0.0.1")) is None
    table.insert(parse("::/0"), 2)
    assert table.lookup(at("::ffff:10.0.0.1")) == 2
    assert table.lookup(at("10.0.0.1")) == 1


@pytest.mark.parametrize(
    ("address", "length", "network"),
    [("10.1.2.3", 24, "10.1.2.0"), ("10.1.2.3", 32, "10.1.2.3"), ("ff::ff", 0, "::")],
)
def test_masked_clears_host_bits(address: str, length: int, network: str) -> None:
    assert masked(at(address), length) == (at(network), length)


@pytest.mark.parametrize("length", [-1, 33])
def test_masked_refuses_a_length_that_no_address_has(length: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.32"):
        masked(bytes(4), length)


def test_a_hundred_thousand_prefixes_in_one_peer() -> None:
    """Every length from /9 to /32 and /33 to /128, checked against dictionaries per length."""
    rng = random.Random(4)
    table = AllowedIps()
    table.insert(parse("0.0.0.0/0"), 2)
    prefixes: dict[Prefix, None] = {}
    while len(prefixes) < 100_000:
        if rng.random() < 0.5:
            prefixes[masked(rng.randbytes(4), rng.randint(9, 32))] = None
        else:
            prefixes[masked(b"\x20\x01" + rng.randbytes(14), rng.randint(33, 128))] = None
    for row in prefixes:
        table.insert(row, 1)
    assert sum(1 for _ in table.of_peer(1)) == 100_000

    def expected(candidate: bytes) -> int | None:
        bits = len(candidate) * 8
        if any(masked(candidate, length) in prefixes for length in range(9, bits + 1)):
            return 1
        return 2 if bits == 32 else None

    inside = [network for network, _ in rng.sample(sorted(prefixes), 2000)]
    outside = [rng.randbytes(4) for _ in range(1000)] + [rng.randbytes(16) for _ in range(200)]
    for candidate in inside + outside:
        assert table.lookup(candidate) == expected(candidate)
    assert {table.lookup(candidate) for candidate in outside} == {None, 1, 2}

    table.replace(1, [parse("192.0.2.0/24")])
    assert table.lookup(at("192.0.2.1")) == 1
    assert {table.lookup(candidate) for candidate in inside} <= {None, 2}

"""The limiter of handshakes per source, against one textbook token bucket per source."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from wgvx.wireguard.limiter import HandshakeLimiter

SECOND = 10**9
START = 50 * SECOND


class Bucket:
    """20 tokens a second, at most 5, counted in exact fractions."""

    def __init__(self) -> None:
        self.tokens = Fraction(5)
        self.at = START

    def allow(self, now: int) -> bool:
        self.tokens = min(Fraction(5), self.tokens + Fraction(20 * (now - self.at), SECOND))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def source_of(ip: bytes) -> bytes:
    return ip if len(ip) == 4 else ip[:8]


ADDRESSES = [
    bytes([192, 0, 2, 1]),
    bytes([192, 0, 2, 2]),
    bytes.fromhex("20010db8000000010000000000000001"),
    bytes.fromhex("20010db8000000010000000000000002"),
    bytes.fromhex("20010db8000000020000000000000001"),
    bytes([192, 0, 2, 1]) + bytes(12),
]

wait = st.one_of(st.just(0), st.integers(0, 60 * 10**6), st.integers(0, 3 * SECOND))


@given(st.lists(st.tuples(wait, st.sampled_from(ADDRESSES)), max_size=80))
def test_agrees_with_the_model(arrivals: list[tuple[int, bytes]]) -> None:
    limiter = HandshakeLimiter()
    buckets: dict[bytes, Bucket] = {}
    now = START
    for waited, ip in arrivals:
        now += waited
        bucket = buckets.setdefault(source_of(ip), Bucket())
        assert limiter.allow(ip, now) == bucket.allow(now)


def burst(limiter: HandshakeLimiter, ip: bytes, now: int, count: int = 10) -> int:
    return sum(limiter.allow(ip, now) for _ in range(count))


def test_a_burst_of_5_then_20_a_second() -> None:
    limiter = HandshakeLimiter()
    assert burst(limiter, ADDRESSES[0], START) == 5
    assert burst(limiter, ADDRESSES[0], START + SECOND // 20 - 1) == 0
    assert burst(limiter, ADDRESSES[0], START + SECOND // 20) == 1
    second = sum(limiter.allow(ADDRESSES[0], START + SECOND + tick * 10**6) for tick in range(1000))
    assert second in (24, 25)


def test_one_source_spends_nothing_of_another() -> None:
    limiter = HandshakeLimiter()
    for last in range(256):
        assert burst(limiter, bytes([198, 51, 100, last]), START) == 5


def test_an_ipv6_site_is_one_source() -> None:
    limiter = HandshakeLimiter()
    site = bytes.fromhex("20010db8aaaabbbb")
    allowed = sum(limiter.allow(site + host.to_bytes(8, "big"), START) for host in range(100))
    assert allowed == 5


def test_memory_is_bounded_and_who_is_known_is_still_served() -> None:
    limiter = HandshakeLimiter()
    known = bytes([10, 0, 0, 0])
    for number in range(70_000):
        limiter.allow((0x0A000000 + number).to_bytes(4, "big"), START)
    assert len(limiter) == 65_536
    assert limiter.allow(known, START)
    assert not limiter.allow(bytes([11, 0, 0, 0]), START)
    # A second later everyone is forgotten step by step, and new sources come in again.
    assert limiter.allow(bytes([11, 0, 0, 0]), START + SECOND)
    for number in range(40_000):
        assert limiter.allow((0x0C000000 + number).to_bytes(4, "big"), START + 2 * SECOND)
    assert len(limiter) <= 65_536

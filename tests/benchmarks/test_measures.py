"""The parts of a comparison that measure nothing: searching, forging, reading perf's report."""

from __future__ import annotations

import pytest

from benchmarks.compare.measures.profile import shares
from benchmarks.compare.measures.search import TRIALS, Trial, highest
from benchmarks.compare.traffic import forged
from wgvx.wireguard import cookie


class Way:
    """Carries so many a second and loses the rest; the sender sends so many at most."""

    def __init__(self, limit: float, sender: float = 1e9) -> None:
        self.limit, self.sender = limit, sender
        self.trials = 0

    def __call__(self, rate: float) -> Trial:
        self.trials += 1
        sent = min(rate, self.sender)
        return Trial(rate, sent, min(sent, self.limit))


@pytest.mark.parametrize("guess", [10_000, 50_000, 100_000, 300_000])
def test_the_search_finds_the_limit_from_anywhere(guess: float) -> None:
    way = Way(100_000)
    assert highest(way, guess) == pytest.approx(100_000, rel=0.05)
    assert way.trials <= TRIALS


def test_the_search_ends_where_the_sender_can_do_no_more() -> None:
    way = Way(1e9, sender=80_000)
    assert highest(way, 90_000) == 80_000
    assert way.trials == 2


def test_one_hiccup_does_not_end_a_rate() -> None:
    way = Way(100_000)
    losses = iter([0.05])

    def trial(rate: float) -> Trial:
        result = way(rate)
        return result._replace(arrived=result.arrived * (1 - next(losses, 0)))

    assert highest(trial, 99_000) == pytest.approx(100_000, rel=0.05)


def test_what_always_loses_has_no_rate() -> None:
    assert highest(lambda rate: Trial(rate, rate, rate / 2), 1000) is None


@pytest.mark.parametrize("right", [True, False])
def test_forged_initiations_have_the_mac1_they_are_said_to_have(right: bool) -> None:
    responder = bytes(range(32))
    message = forged.initiation(responder, right=right)
    assert len(message) == forged.LENGTH
    assert message[:4] == b"\1\0\0\0"
    assert cookie.mac1_valid(cookie.mac1_key(responder), message) is right


def test_samples_are_told_apart_by_library_and_symbol() -> None:
    rows = """# a comment; of perf's; own
 10 ;[kernel.kallsyms] ;[k] copy_page
  5 ;libcrypto.so.3 ;[.] ChaCha20_avx512
  2 ;wireguard ;[.] golang.org/x/crypto/chacha20poly1305.seal
  1 ;_native.abi3.so ;[.] wgvx_chacha_wrapper
  2 ;libc.so.6 ;[.] memcpy
"""
    assert shares(rows.splitlines()) == {
        "cpu_kernel_percent": 50,
        "cpu_aead_percent": 35,
        "cpu_other_percent": 15,
    }


def test_no_samples_are_no_shares() -> None:
    assert set(shares([]).values()) == {None}

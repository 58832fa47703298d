"""What is made of the rounds of a comparison."""

from __future__ import annotations

import pytest

from benchmarks.compare.summary import (
    Block,
    best_ratio,
    counting,
    mark_quiet,
    median,
    medians,
    ratios,
)
from benchmarks.compare.targets import Target

ROUNDS = [
    Block("tcp", 100, {"x": {"tcp_mbit": 8.0, "ping_us": 4.0}, "base": {"tcp_mbit": 2.0}}),
    Block("tcp", 105, {"x": {"tcp_mbit": 9.0, "ping_us": None}, "base": {"tcp_mbit": 3.0}}),
    Block("tcp", 99, {"x": {"tcp_mbit": 1.0}, "base": {"tcp_mbit": 1.0}}),
]


def test_a_block_is_quiet_within_a_tenth_of_the_median_cable() -> None:
    blocks = [Block("tcp", gauge) for gauge in (100, 110, 90, 111, 89)]
    mark_quiet(blocks)
    assert [block.quiet for block in blocks] == [True, True, True, False, False]


def test_only_quiet_blocks_count_but_for_a_measure_that_has_none() -> None:
    loud_tcp, calm_tcp = Block("tcp", 1, quiet=False), Block("tcp", 1)
    loud_ping = Block("ping", 1, quiet=False)
    assert counting([loud_tcp, calm_tcp, loud_ping]) == [calm_tcp, loud_ping]


def test_medians_leave_out_what_could_not_be_had() -> None:
    assert median([3, None, 1, 2]) == 2
    assert median([None]) is None
    assert medians(ROUNDS)["x"] == {"tcp_mbit": 8.0, "ping_us": 4.0}


def test_a_ratio_is_taken_within_a_round() -> None:
    assert ratios(ROUNDS, "base")["x"] == {"tcp_mbit": 3.0}


def test_the_best_of_the_others_is_the_measure() -> None:
    block = Block(
        "ping",
        1,
        {
            "x": {"tcp_mbit": 6.0, "ping_us": 6.0},
            "slow": {"tcp_mbit": 1.0, "ping_us": 12.0},
            "fast": {"tcp_mbit": 3.0, "ping_us": 3.0},
            "dead": {},
        },
    )
    others = ("slow", "fast", "dead", "absent")
    assert best_ratio(block, "x", "tcp_mbit", others) == 2
    assert best_ratio(block, "x", "ping_us", others) == 2
    assert best_ratio(block, "x", "tcp_mbit", ("absent",)) is None


@pytest.mark.parametrize(
    ("at_most", "reached", "met"), [(False, 8, True), (False, 7.9, False), (True, 8.1, False)]
)
def test_a_target_is_a_bound_in_its_own_direction(at_most: bool, reached: float, met: bool) -> None:
    target = Target("", "tcp_mbit", 10, 8, at_most=at_most)
    assert target.met("wgvx-openssl", reached) is met


def test_a_target_is_a_ratio_or_a_figure() -> None:
    assert Target("", "tcp_mbit", 1, 1, ("base",)).reached(ROUNDS, "x") == 3
    assert Target("", "tcp_mbit", 1, 1, ()).reached(ROUNDS, "x") == 8
    assert Target("", "tcp_mbit", 1, 1, ()).reached(ROUNDS, "absent") is None

"""`--offload LIST`."""

from __future__ import annotations

import itertools

import pytest

from wgvx import offloads


@pytest.mark.parametrize("count", range(1, 5))
def test_any_of_them_in_any_order(count: int) -> None:
    for names in itertools.permutations(offloads.NAMES, count):
        assert offloads.parse(",".join(names)) == set(names)


def test_none_of_them() -> None:
    assert offloads.parse("none") == frozenset()


def test_one_said_twice_is_said_once() -> None:
    assert offloads.parse("gso,gso") == {"gso"}


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "''"), ("tso,", "''"), ("TSO", "'TSO'"), ("tso, uso", "' uso'"), ("none,tso", "'none'")],
)
def test_anything_else_is_named(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^{found} is none of tso, uso, gso, gro; or say none$"):
        offloads.parse(text)

"""docs/fleet.md keeps up: every key has its row, and its example is a plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fleet.plans import fleet
from wgvx.fleet.advice import warnings
from wgvx.fleet.read import SCHEMA

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "fleet.md").read_text()


@pytest.mark.parametrize("table", [table for table in SCHEMA.keys if table])
def test_every_key_is_explained_and_no_other(table: str) -> None:
    _, found, rest = MANUAL.partition(f"\n## `{SCHEMA.titles[table]}`\n")
    assert found
    part, _, _ = rest.partition("\n## ")
    assert set(re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)) == set(SCHEMA.keys[table])


def test_the_example_is_a_plan(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", MANUAL, re.DOTALL | re.MULTILINE)
    assert list(warnings(fleet(tmp_path, example))) == []

"""The tables of the kernel's suites name tests that exist, and all that were made for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interop.selftests import NETNS_SH, VXLAN

HERE = Path(__file__).parent


def functions(module: str) -> set[str]:
    return set(re.findall(r"^def (\w+)\(", (HERE / f"{module}.py").read_text(), re.MULTILINE))


@pytest.mark.parametrize("table", [NETNS_SH, VXLAN])
def test_what_plays_a_case_exists(table: dict[str, str]) -> None:
    for case, where in table.items():
        if not where.startswith("none: "):
            module, name = where.split("::")
            assert name in functions(module), case


@pytest.mark.parametrize("module", ["test_netns_traffic", "test_netns_routes", "test_netns_keys"])
def test_what_was_made_for_netns_sh_is_in_its_table(module: str) -> None:
    made = {name for name in functions(module) if name.startswith("test_")}
    assert made <= {where.partition("::")[2] for where in NETNS_SH.values()}

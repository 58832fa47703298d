"""The documentation keeps up: every key and drop reason has its row, every example loads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from wgvx import keys
from wgvx.config import load
from wgvx.config.table import KEYS, TITLES
from wgvx.drops import Reason

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MANUAL = (ROOT / "docs" / "configuration.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
STACK = (ROOT / "docs" / "userspace-stack.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def rows(start: str) -> set[str]:
    """What the first column has in the first table after the line that begins with `start`."""
    _, found, rest = f"\n{MANUAL}".partition(f"\n{start}")
    assert found, start
    table = re.search(r"^\|(?:.*\n\|)*.*$", rest, re.MULTILINE)
    assert table is not None, start
    return set(re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE))


@pytest.mark.parametrize("table", [table for table in KEYS if table])
def test_every_key_is_explained_and_no_other(table: str) -> None:
    start = f"## `{TITLES[table]}`" if table in TITLES else f"Inside `{table}`:"
    assert rows(start) == set(KEYS[table])


def test_every_drop_reason_is_explained_and_no_other() -> None:
    _, _, troubles = MANUAL.partition("\n## When packets are dropped\n")
    explained = re.findall(r"^\| `(\w+)` \|(?:[^|]+\|){3}$", troubles, re.MULTILINE)
    assert sorted(explained) == sorted(Reason)


def test_every_message_in_the_troubleshooting_is_said() -> None:
    """What is quoted there, operators look for: somebody who changes it changes both."""
    _, _, troubles = OPERATIONS.partition("\n## Troubleshooting\n")
    troubles, _, _ = troubles.partition("\n## ")
    quoted = re.findall(r'"([^"]+)"', re.sub(r"\s+", " ", troubles))
    assert len(quoted) > 20
    code = "\n".join(path.read_text() for path in sorted((ROOT / "wgvx").rglob("*.py")))
    said = re.sub(r'"\s*\n\s*f?"', "", code)  # a text in several pieces
    of_others = {"No such file or directory", "Address already in use", "Misdirected Request"}
    pieces = {piece.strip(" ,:") for text in quoted for piece in text.split("...")} - of_others
    missing = [piece for piece in sorted(pieces) if piece not in said]
    assert missing == []


def test_the_import_chain_is_that_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    chain = "\n> ".join(contracts["contracts"][0]["layers"])
    assert f"\n```\n{chain}\n```\n" in ARCHITECTURE


def test_every_room_is_named() -> None:
    """Packages in the tree, modules beside them in the table."""
    tree, _, table = ARCHITECTURE.partition("**Imports run one way**")[0].partition("\n| ")
    missing = []
    for path in (ROOT / "wgvx").iterdir():
        if path.suffix == ".py" and not path.name.startswith("__"):
            found = f"  {path.name} " in tree or f"`{path.name}`" in table
        elif (path / "__init__.py").exists():
            found = f"  {path.name}/ " in tree
        else:
            continue
        if not found:
            missing.append(path.name)
    assert missing == []


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) == README.count("```toml") >= 2


def test_the_stacks_example_loads(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", STACK, re.DOTALL | re.MULTILINE)
    private = keys.encode(bytes([1] * 32))
    file = tmp_path / "a.toml"
    file.touch(0o600)
    file.write_text(f'[node]\nprivate_key = "{private}"\naddress = ["10.254.0.1/24"]\n{example}')
    (network,) = load(file).networks
    assert [attach.type for attach in network.attach] == ["stack"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_the_readmes_examples_load_without_a_warning(example: str, tmp_path: Path) -> None:
    """As they stand, but for the public keys, which a reader fills in too."""
    private = (bytes([number] * 32) for number in range(1, 9))
    for name in re.findall(r'_key_file = "(.*)"', example):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(keys.encode(next(private)))
    text = re.sub(
        r'(?<=public_key = ")[^"]*',
        lambda _: keys.encode(keys.public_key(next(private))),
        example,
    )
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert load(file).warnings == ()

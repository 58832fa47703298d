"""A TOML file and its tables, read key by key; whatever is wrong is said with its place.

A message reads `FILE:LINE: [[peer]] 2 (name "b"), endpoint: found "b", want "host:port" ...`. What
could be key material is never part of one.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

from wgvx.config import quiet
from wgvx.config.values import Kind

T = TypeVar("T")

MAXIMUM_FILE_SIZE = 1 << 24
"""Bytes: far more than 100,000 prefixes need, far less than would hurt."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("node", "peer", "network"),
    "node": (
        *("private_key", "private_key_file", "listen_port", "address", "mtu", "fwmark"),
        *("forward", "state_dir", "probe_mtu"),
    ),
    "peer": (
        *("name", "public_key", "preshared_key", "preshared_key_file", "endpoint"),
        *("allowed_ips", "persistent_keepalive"),
    ),
    "network": (
        *("vni", "tap", "attach", "address", "mac", "mtu", "bridge", "netns", "udp_port"),
        *("remotes", "accept", "fdb", "learning", "ageing", "max_entries", "clamp_mss"),
        *quiet.KEYS,
    ),
    "attach": (
        *("type", "name", "mac", "listen", "connect", "local", "remote", "address", "gateway"),
        *("dns", "socks5", "http", "forward", "reverse"),
    ),
    "fdb": ("mac", "vtep"),
}
"""Every key there is, by table."""

TITLES = {"node": "[node]", "peer": "[[peer]]", "network": "[[network]]"}
"""How a table's head is written."""

FOREIGN = {"interface": "node"}
"""What users of wg-quick(8) write, where it does not resemble the name here."""

EXAMPLES = {
    "attach": '{ type = "tap", name = "blue0" }',
    "fdb": '{ mac = "02:00:00:00:00:02", vtep = "10.254.0.2" }',
}
"""Of the tables inside others, one."""


@dataclass(frozen=True)
class Schema:
    """What a kind of file may have in it, and how messages speak of it."""

    what: str
    """What such a file describes."""
    keys: Mapping[str, tuple[str, ...]]
    """Every key there is, by table; "" is the top level."""
    titles: Mapping[str, str]
    """How a table's head is written."""
    labels: Mapping[str, str]
    """The key that tells one table of its kind from another, where there may be several."""
    foreign: Mapping[str, str] = field(default_factory=dict)
    """What users of other programs write, where it does not resemble the name here."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Of each kind of table that stands inside another, one."""


NODE_FILE = Schema("one node", KEYS, TITLES, {"peer": "name", "network": "vni"}, FOREIGN, EXAMPLES)


class ConfigError(Exception):
    """The configuration cannot be used: one message with file, place, key and the value wanted."""


class Document:
    """One file: its values, and where in the text they stand."""

    def __init__(self, path: Path, schema: Schema = NODE_FILE) -> None:
        """Read and parse `path`; ConfigError where that fails."""
        self.path = path
        self.schema = schema
        self.warnings: list[str] = []
        try:
            with path.open("rb") as file:
                self.mode = os.fstat(file.fileno()).st_mode
                data = file.read(MAXIMUM_FILE_SIZE + 1)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read: {reason(error)}") from None
        if len(data) > MAXIMUM_FILE_SIZE:
            raise ConfigError(
                f"{path}: found more than 16 MiB, want the TOML file of {schema.what}"
            )
        try:
            self.text = data.decode()
            self.top = Table(self, "", 1, tomllib.loads(self.text))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}: not TOML: a byte that is not UTF-8") from None
        except RecursionError:
            raise ConfigError(f"{path}: not TOML that can be read: nested too deep") from None
        except ValueError as error:  # TOMLDecodeError is one, a number of 5000 digits another
            raise ConfigError(f"{path}{_syntax(str(error))}") from None

    def line(self, table: str, index: int, key: str | None) -> int | None:
        """The line of `key` in the `index`th `table` (from 1), else of its head; None if unsure."""
        # At the top level a key is a table's head: its first one.
        head = (key, 1, None) if table == "" and key is not None else (table, index, None)
        return self._lines.get((table, index, key)) or self._lines.get(head)

    @cached_property
    def _lines(self) -> dict[tuple[str, int, str | None], int]:
        lines: dict[tuple[str, int, str | None], int] = {}
        if '"""' in self.text or "'''" in self.text:
            return lines  # what looks like a key may then be inside a text
        table, index = "", 1
        heads: Counter[str] = Counter()
        for number, line in enumerate(self.text.split("\n"), 1):
            if head := re.match(r'\s*\[\[?\s*"?([\w-]+)"?\s*\]', line):
                table = head[1]
                heads[table] += 1
                index = heads[table]
                lines[table, index, None] = number
            elif key := re.match(r'\s*"?([\w-]+)"?\s*=', line):
                lines.setdefault((table, index, key[1]), number)
        return lines


class Table:
    """One table, with its place in the file for messages."""

    def __init__(
        self,
        document: Document,
        kind: str,
        index: int,
        values: Mapping[str, object],
        parent: Table | None = None,
    ) -> None:
        """`kind` is its key in the schema, `index` (from 1) which of its kind it is; refuses
        unknown keys."""
        self.document = document
        self.values = values
        self._kind, self._index, self._parent = kind, index, parent
        for key in values:
            if key not in document.schema.keys[kind]:
                hint = _suggestion(document.schema, kind, key)
                self.fail(key_shown(key), f"there is no such key; {hint}")

    @property
    def place(self) -> str:
        """As a reader finds it: `[[peer]] 2 (name "b")`."""
        if self._parent is not None:
            return f"{self._parent.place}, {self._kind} {self._index}"
        title = self.document.schema.titles.get(self._kind, "")
        if label := self.document.schema.labels.get(self._kind):
            title += f" {self._index}"
            value = self.values.get(label)
            if isinstance(value, str | int):
                title += f" ({label} {shown(value)})"
        return title

    def fail(self, key: str, what: str) -> NoReturn:
        """Refuse `key` with `what` as the reason."""
        if self._parent is not None:
            line = self.document.line(self._parent._kind, self._parent._index, self._kind)
        else:
            line = self.document.line(self._kind, self._index, key)
        at = f":{line}" if line is not None else ""
        place = f"{self.place}, " if self.place else ""
        raise ConfigError(f"{self.document.path}{at}: {place}{key}: {what}")

    def refuse(self, key: str, value: object, wanted: str, secret: bool = False) -> NoReturn:
        """Refuse the `value` of `key` for not being what is `wanted`."""
        self.fail(key, f"found {shown(value, secret)}, want {wanted}")

    def missing(self, key: str, wanted: str) -> NoReturn:
        """Refuse a table without `key`."""
        self.fail(key, f"missing, want {wanted}")

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def integer(self, key: str, low: int, high: int, unit: str = "") -> int | None:
        """The whole number at `key`; None where it is left out."""
        value = self.values.get(key)
        # For TOML, unlike for Python, true is no number.
        if value is None or (type(value) is int and low <= value <= high):
            return value
        self.refuse(key, value, f"a whole number from {low} to {high}{unit}")

    def boolean(self, key: str, default: bool) -> bool:
        """The truth value at `key`."""
        value = self.values.get(key, default)
        if isinstance(value, bool):
            return value
        self.refuse(key, value, "true or false")

    def one(self, key: str, kind: Kind[T]) -> T | None:
        """The text at `key`, read as `kind`; None where it is left out."""
        return self._read(key, self.values[key], kind) if key in self.values else None

    def many(self, key: str, kind: Kind[T]) -> tuple[T, ...] | None:
        """The list of texts at `key`, each read as `kind`; None where it is left out."""
        values = self.values.get(key)
        if values is None:
            return None
        if not isinstance(values, list):
            self.refuse(key, values, f"a list in [ ], each {kind.wanted}")
        return tuple(self._read(key, value, kind) for value in values)

    def _read(self, key: str, value: object, kind: Kind[T]) -> T:
        if isinstance(value, str):
            try:
                return kind.parse(value)
            except ValueError:
                pass
        self.refuse(key, value, kind.wanted, kind.secret)

    def table(self, key: str) -> Table | None:
        """The table written `[key]`; None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(key, value, f"one table, [{key}]")
        return Table(self.document, key, 1, value)

    def tables(self, key: str) -> tuple[Table, ...]:
        """The tables written `[[key]]`, or inside a table `key = [{ ... }]`; none is empty."""
        values = self.values.get(key, [])
        nested = self._kind != ""
        wanted = f"tables, each [[{key}]]"
        if nested:
            wanted = f"a list such as [{self.document.schema.examples[key]}]"
        if not isinstance(values, list):
            self.refuse(key, values, wanted)
        for value in values:
            if not isinstance(value, dict):
                self.fail(key, f"found {shown(value)} in the list, want {wanted}")
        parent = self if nested else None
        return tuple(
            Table(self.document, key, index, value, parent) for index, value in enumerate(values, 1)
        )


def shown(value: object, secret: bool = False) -> str:
    """`value` as a message may show it: short, on one line, and never anything like a key."""
    match value:
        case str() if secret or re.search(r"[A-Za-z0-9+/]{40,}", value):
            return f"{len(value)} characters"
        case str():
            text = value if len(value) <= 60 else value[:57] + "..."
            return json.dumps(text, ensure_ascii=not text.isprintable())
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if abs(value) < 1 << 64 else "a number of over 64 bits"
        case float():
            return repr(value)
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
    return "a date or time"


def reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, without the path that the caller names anyway."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not a path that can be opened"


def key_shown(key: str) -> str:
    """An unknown key as messages show it; a key pasted as one is not."""
    return key if re.fullmatch(r"[\w-]{1,32}", key) else shown(key)


def _syntax(message: str) -> str:
    """tomllib's message with its line in front, as compilers write it."""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        return f":{found[2]}: not TOML: {found[1]} (column {found[3]})"
    if message.endswith("(at end of document)"):
        return f": not TOML: {message}"
    return ": not TOML that can be read: a number with too many digits"


def _suggestion(schema: Schema, kind: str, key: str) -> str:
    """What the writer of an unknown `key` most likely meant."""
    import difflib  # only a file with a mistake pays for it

    plain = {known.replace("_", ""): known for known in schema.keys[kind]}
    written = re.sub(r"[_-]", "", key.lower())
    meant = schema.foreign.get(written, written)
    if close := difflib.get_close_matches(meant, plain, 1, 0.7):
        return f'did you mean "{plain[close[0]]}"?'
    homes = [title for home, title in schema.titles.items() if key in schema.keys[home]]
    if homes:
        return f'"{key}" belongs under {" or ".join(homes)}'
    return f"want one of {', '.join(schema.keys[kind])}"

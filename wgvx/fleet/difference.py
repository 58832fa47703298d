"""What a render would change, for people: unified diffs in which no secret key is seen."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import unified_diff

from wgvx.fleet.files import File, compare

_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_PUBLIC = re.compile(r"public_?key", re.IGNORECASE)


def difference(
    before: Mapping[str, File], after: Mapping[str, File], unknown: Collection[str]
) -> Iterator[str]:
    """The lines of a diff from one tree to another. `unknown` are public keys that are not settled
    yet, so that a real render will have others."""
    changes = compare(before, after)
    for path in sorted((*changes.made, *changes.changed, *changes.removed)):
        old, new = before.get(path), after.get(path)
        if old is not None and new is not None and old.mode != new.mode:
            yield f"{path}: mode {old.mode:04o}, to be {new.mode:04o}"
        veil = _Veil(unknown)
        yield from unified_diff(
            veil.lines(old),
            veil.lines(new),
            "/dev/null" if old is None else f"is/{path}",
            "/dev/null" if new is None else f"will be/{path}",
            lineterm="",
        )


class _Veil:
    """Keys of one file as numbers, so that it is seen which of them change, and nothing else."""

    def __init__(self, unknown: Collection[str]) -> None:
        self._unknown = unknown
        self._numbers: dict[str, int] = {}

    def lines(self, file: File | None) -> list[str]:
        return [] if file is None else [self._veiled(line) for line in file.text.splitlines()]

    def _veiled(self, line: str) -> str:
        public = _PUBLIC.search(line) is not None

        def shown(found: re.Match[str]) -> str:
            key = found[0]
            if public:
                return "(a new public key)" if key in self._unknown else key
            return f"(secret {self._numbers.setdefault(key, len(self._numbers) + 1)})"

        return _KEY.sub(shown, line)

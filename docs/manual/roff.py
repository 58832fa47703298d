"""A manual page in the making: man(7), in the words that groff and mandoc both know."""

from __future__ import annotations

import datetime
import os
import re
import time


def escaped(text: str) -> str:
    """The text as roff shows it; hyphens as they are typed, for people copy them."""
    return text.replace("\\", "\\e").replace("-", "\\-")


def bold(text: str) -> str:
    """What is typed as it stands."""
    return f"\\fB{escaped(text)}\\fR"


def italic(text: str) -> str:
    """What stands for something else."""
    return f"\\fI{escaped(text)}\\fR"


def marked(text: str) -> str:
    """A sentence in which `this` is typed as it stands."""
    return "".join(
        bold(part) if position % 2 else escaped(part)
        for position, part in enumerate(text.split("`"))
    )


class Page:
    """Text comes in roff already, by the functions above."""

    def __init__(self, name: str, section: int, version: str, summary: str) -> None:
        made = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
        date = datetime.datetime.fromtimestamp(made, datetime.UTC).date()
        title = f".TH {escaped(name.upper())} {section} {date} "
        self._lines = [f'{title}"wgvx {escaped(version)}" "wgvx manual"', ".nh", ".ad l"]
        self.section("name")
        self._line(f"{escaped(name)} \\- {escaped(summary)}")

    def section(self, title: str) -> None:
        """A heading: in capitals, unless it is a table's name in TOML."""
        title = title if title.startswith("[") else title.upper()
        self._lines.append(f'.SH "{escaped(title)}"')

    def part(self, title: str) -> None:
        """A heading within a section; roff."""
        self._lines.append(f'.SS "{title}"')

    def paragraph(self, text: str) -> None:
        """Filled to the terminal's width."""
        self._gap()
        self._line(text)

    def item(self, label: str, text: str) -> None:
        """Something with its explanation beside or below it."""
        self._lines.append(".TP")
        self._line(label)
        self._line(text or "\\ ")

    def bullet(self, text: str) -> None:
        """One of several."""
        self._lines.append(".IP \\(bu 2")
        self._line(text)

    def example(self, text: str) -> None:
        """Plain text, line by line as it stands."""
        self._gap()
        self._lines += [".RS 4", ".EX"]
        for line in text.rstrip("\n").split("\n"):
            self._line(escaped(line))
        self._lines += [".EE", ".RE"]

    def _gap(self) -> None:
        if not self._lines[-1].startswith((".SH", ".SS")):
            self._lines.append(".PP")

    def _line(self, text: str) -> None:
        text = re.sub(r"\s+$", "", text)
        self._lines.append(f"\\&{text}" if text.startswith((".", "'")) else text)

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

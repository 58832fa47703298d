"""Writes the manual pages: `python -m docs.manual.build FOLDER`. setup.py does so for what is
installed."""

from __future__ import annotations

import sys
from pathlib import Path

from docs.manual import commands, configuration


def write(folder: Path) -> list[Path]:
    """All pages, into FOLDER/man1 and FOLDER/man5; the files."""
    made = []
    for name, text in (*commands.pages(), ("wgvx.toml.5", configuration.page())):
        file = folder / f"man{name[-1]}" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        made.append(file)
    return made


if __name__ == "__main__":
    write(Path(sys.argv[1]))

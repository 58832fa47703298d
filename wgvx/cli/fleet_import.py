"""`wgvx fleet import`: a plan out of wg-quick's files."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.fleet import files
from wgvx.fleet.importing import imported
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.read import read_text


def run(args: argparse.Namespace) -> int:
    """Write the plan, and the keys into their folder."""
    found = imported(args.files)
    path = args.plan
    with files.alone(path.absolute()):
        if path.exists():
            output.usage(f"{path}: there is such a file, want a new name")
        keyring = Keyring(read_text(found.text, path))
        keyring.adopt(found.private, found.preshared)
        # The plan last: a render of it without these keys would make others.
        keyring.save()
        files.write(path, found.text, durable=True)
    for note in found.notes:
        output.warning(note)
    output.line(f"{path}: written, and the keys beside it; next: wgvx fleet check {path}")
    return 0

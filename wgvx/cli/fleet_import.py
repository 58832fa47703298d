"""`wgvx fleet import`: a plan out of wg-quick's files."""

from __future__ import annotations

import argparse

from wgvx.cli import output
from wgvx.config import ConfigError
from wgvx.fleet import files
from wgvx.fleet.importing import imported
from wgvx.fleet.keyring import Keyring
from wgvx.fleet.read import read


def run(args: argparse.Namespace) -> int:
    """Write the plan, and the keys into their folder."""
    found = imported(args.files)
    path = args.plan
    if path.exists():
        output.usage(f"{path}: there is such a file, want a new name")
    with files.alone(path.absolute()):
        files.write(path, found.text)
        try:
            keyring = Keyring(read(path))
        except ConfigError:
            path.unlink()
            raise
        keyring.adopt(found.private, found.preshared)
        keyring.save()
    for note in found.notes:
        output.warning(note)
    output.line(f"{path}: written, and the keys beside it; next: wgvx fleet check {path}")
    return 0

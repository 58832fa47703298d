"""`wgvx genpsk`: a new preshared key."""

from __future__ import annotations

import argparse

from wgvx import keys
from wgvx.cli import output

DESCRIPTION = """\
Print a new preshared key, base64, as wg(8) does. Two peers that both name it mix it into
their handshake: what they say then stays secret even if X25519 should be broken one day.
"""

EPILOG = """\
example:
  (umask 077; wgvx genpsk > ab.psk)   # on both sides under [[peer]]: preshared_key_file = "ab.psk"

exit status: 0 done, 1 the key could not be written
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `wgvx genpsk`."""
    subparsers.add_parser(
        "genpsk",
        help="make a preshared key",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(_args: argparse.Namespace) -> int:
    """Print the key."""
    output.secret(keys.encode(keys.generate_preshared()))
    return 0

"""`wgvx genkey`: a new private key."""

from __future__ import annotations

import argparse

from wgvx import keys
from wgvx.cli import output

DESCRIPTION = """\
Print a new private key, base64, as wg(8) does. A node's private key stays on its machine:
give its peers the public key, which `wgvx pubkey` makes of it.
"""

EPILOG = """\
example:
  (umask 077; wgvx genkey > a.key)    # then in a.toml: private_key_file = "a.key"
  wgvx pubkey < a.key

exit status: 0 done, 1 the key could not be written
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `wgvx genkey`."""
    subparsers.add_parser(
        "genkey",
        help="make a private key",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(_args: argparse.Namespace) -> int:
    """Print the key."""
    output.secret(keys.encode(keys.generate_private()))
    return 0

"""`wgvx pubkey`: the public key of a private key."""

from __future__ import annotations

import argparse
import sys

from wgvx import keys
from wgvx.cli import output

DESCRIPTION = """\
Read a private key from standard input and print its public key, both base64, as wg(8) does.
The public key is what peers write in their [[peer]] table; it is no secret.
"""

EPILOG = """\
example:
  wgvx pubkey < a.key

exit status: 0 done, 1 the key could not be written, 2 what came in is not a key
"""

# A key and white space around it; more is something else.
MAXIMUM_INPUT = 4096


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `wgvx pubkey`."""
    subparsers.add_parser(
        "pubkey",
        help="the public key of a private key",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(_args: argparse.Namespace) -> int:
    """Print the public key of the key on standard input."""
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(MAXIMUM_INPUT).strip()
    try:
        private = keys.decode(data.decode("ascii"))
    except ValueError:
        found = f"{len(data)} bytes" if data else "nothing"
        output.usage(
            f"standard input: found {found}, want a private key: 32 bytes as 44 characters of "
            "base64, as wgvx genkey prints it"
        )
    output.line(keys.encode(keys.public_key(private)))
    return 0

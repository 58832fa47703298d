"""`wgvx mtu`: how large an inner packet may be, step by step."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from wgvx import mtu
from wgvx.cli import output

DESCRIPTION = """\
Show how much room is left for an inner IP packet (the MTU of the overlay) once every header
around it is paid for. --outer is the IP version between the hosts, --overlay that of the
tunnel addresses, --vlan counts an 802.1Q tag in the inner frame.
"""

EPILOG = """\
example:
  wgvx mtu --underlay 1500 --outer 4 --overlay 4
  wgvx mtu --underlay 9000 --outer 6 --overlay 6 --vlan --json

A node whose file names no MTU takes IPv6's larger header at both places, whichever is used,
so that all ends agree: 1350 over an underlay of 1500. This command shows the exact room.

exit status: 0 done, 2 bad usage, or an underlay in which nothing fits
"""

MAXIMUM_UNDERLAY = 65536  # the loopback's


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `wgvx mtu`."""
    parser = subparsers.add_parser(
        "mtu",
        help="how large frames may be, step by step",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--underlay", type=int, required=True, metavar="N", help="MTU between the hosts, in bytes"
    )
    parser.add_argument(
        "--outer", type=int, choices=(4, 6), required=True, help="IP version between the hosts"
    )
    parser.add_argument(
        "--overlay", type=int, choices=(4, 6), required=True, help="IP version of tunnel addresses"
    )
    parser.add_argument("--vlan", action="store_true", help="inner frames carry a VLAN tag")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Show the arithmetic."""
    result = mtu.breakdown(args.underlay, args.outer, args.overlay, args.vlan)
    least = args.underlay - result.mtu + mtu.MINIMUM_MTU
    if not least <= args.underlay <= MAXIMUM_UNDERLAY:
        output.usage(
            f"--underlay: found {args.underlay}, want {least} to {MAXIMUM_UNDERLAY}: "
            f"the headers take {args.underlay - result.mtu} bytes"
        )
    notes = list(_notes(args.overlay, result))
    if args.json:
        output.emit_json(
            {
                "underlay": args.underlay,
                "outer": args.outer,
                "overlay": args.overlay,
                "vlan": args.vlan,
                "steps": [{"what": what, "bytes": size} for what, size in result.steps],
                "overhead": args.underlay - result.mtu,
                "tunnel_mtu": result.tunnel,
                "mtu": result.mtu,
                "notes": notes,
            }
        )
        return 0
    output.table(("", "bytes"), rows("underlay MTU", "tunnel MTU", args.underlay, result))
    for note in notes:
        output.line(f"note: {note}")
    return 0


def rows(underlay: str, tunnel: str, size: int, result: mtu.Breakdown) -> Iterator[tuple[str, int]]:
    """From an underlay of `size` to the overlay, with words for what is at its beginning and for
    what the outer headers leave."""
    yield underlay, size
    for what, taken in result.steps:
        yield f"- {what}", -taken
        size -= taken
        if size == result.tunnel:
            yield f"= {tunnel}", size
    yield "= overlay MTU", size


def _notes(overlay: int, result: mtu.Breakdown) -> list[str]:
    """What the result does not allow."""
    notes = []
    if overlay == 6 and result.tunnel < mtu.IPV6_MINIMUM_MTU:
        notes.append(
            f"a tunnel MTU below {mtu.IPV6_MINIMUM_MTU} carries no IPv6 on Linux: "
            "peers cannot use IPv6 tunnel addresses here"
        )
    if result.mtu < mtu.IPV6_MINIMUM_MTU:
        notes.append(
            f"an overlay MTU below {mtu.IPV6_MINIMUM_MTU} carries no IPv6: it will not run there"
        )
    return notes

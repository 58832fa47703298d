"""The `wgvx` command: finds the subcommand's module, runs it, turns its end into an exit status."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Protocol, TypeAlias, cast

from wgvx import __version__
from wgvx.cli import output


class Command(NamedTuple):
    """A row of `wgvx --help`, and where the command lives."""

    name: str
    module: str
    summary: str


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class CommandModule(Protocol):
    """What a command's module offers."""

    def register(self, subparsers: Commands) -> None:
        """Add the command's own parser."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit status."""


COMMANDS = (
    Command("genkey", "wgvx.cli.genkey", "make a private key"),
    Command("pubkey", "wgvx.cli.pubkey", "the public key of a private key"),
    Command("genpsk", "wgvx.cli.genpsk", "make a preshared key"),
    Command("up", "wgvx.cli.up", "run a node, as root or rootless"),
    Command("exec", "wgvx.cli.exec", "run a command inside a rootless node"),
    Command("down", "wgvx.cli.down", "stop a running node"),
    Command(
        "capture", "wgvx.cli.capture", "write what passes a running node, for Wireshark or tshark"
    ),
    Command("reload", "wgvx.cli.reload", "let a running node read its file again"),
    Command("show", "wgvx.cli.show", "peers, networks and counters of running nodes"),
    Command("fdb", "wgvx.cli.fdb", "see and edit a running node's forwarding table"),
    Command("check", "wgvx.cli.check", "validate a file and explain what it means"),
    Command("fleet", "wgvx.cli.fleet", "one file for many nodes"),
    Command("mtu", "wgvx.cli.mtu", "how large frames may be, step by step"),
    Command("demo", "wgvx.cli.demo", "two nodes on this machine and traffic between them"),
    Command("doctor", "wgvx.cli.doctor", "what this machine allows, and how to mend the rest"),
    Command("completion", "wgvx.cli.completion", "what makes a shell complete wgvx at TAB"),
)

TAKES_COMMAND = ("up", "exec")
"""Commands that run another one, given after `--`: `args.passthrough`, None without `--`."""

DESCRIPTION = """\
An encrypted Layer 2 between machines: VXLAN over WireGuard in userspace, no kernel
module, no privilege needed.
"""

EPILOG = """\
first steps:
  wgvx demo                         see it work: no privileges, no configuration
  wgvx doctor                       what this machine allows
  (umask 077; wgvx genkey > a.key)  a key for a node of your own
  wgvx pubkey < a.key               what its peers need to know
  wgvx check ./a.toml               is the file right, and what does it mean
  wgvx up ./a.toml --rootless       run it; as root without --rootless

`wgvx COMMAND --help` explains one command. Exit status: 0 done, 1 failed while running,
2 bad usage or configuration.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wgvx` with `argv` (by default the process's) and return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "_ARGCOMPLETE" in os.environ:
        from wgvx.cli.completing import complete

        complete(lambda words: make_parser(words)[:2])
    if os.getpid() == 1:
        # A container's first process: the kernel delivers it no signal that it does not handle.
        signal.signal(signal.SIGTERM, _terminated)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A peer's name that the locale cannot show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
    except KeyboardInterrupt:
        status = 130
    except output.UserError as error:
        output.error(str(error))
        status = error.status
    except BrokenPipeError:
        status = 1  # whoever read our output has seen enough
    except OSError as error:
        output.error(_reason(error))
        status = 1
    except _config_error() as error:
        output.error(str(error))
        status = 2
    return _flush(status)


def _terminated(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _config_error() -> type[Exception]:
    """ConfigError, imported once an exception is there to be compared with it."""
    from wgvx.config import ConfigError

    return ConfigError


def _run(arguments: list[str]) -> int:
    arguments, passthrough = _split(arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    _check_name(arguments)
    parser, subparsers, module = make_parser(arguments)
    try:
        args, strangers = parser.parse_known_args(arguments)
        if strangers:
            args.passthrough = passthrough
            _refuse(subparsers.choices.get(args.command, parser), args, arguments, strangers)
    except SystemExit as ended:  # argparse has said why: 0 after --help, else 2
        return ended.code if isinstance(ended.code, int) else 2
    if module is None:
        parser.print_help(sys.stderr)
        return 2
    if passthrough is not None and args.command not in TAKES_COMMAND:
        output.usage(f"{args.command} takes nothing after --")
    args.passthrough = passthrough
    return module.run(args)


def make_parser(
    arguments: list[str],
) -> tuple[argparse.ArgumentParser, Commands, CommandModule | None]:
    """The parser of `wgvx`, its commands, and the module of the one that ``arguments`` name."""
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="wgvx",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wgvx {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    module: CommandModule | None = None
    for command in COMMANDS:
        if command.name == chosen:
            # Only this one: `wgvx genkey` need not wait for asyncio.
            module = cast("CommandModule", importlib.import_module(command.module))
            module.register(subparsers)
        else:
            subparsers.add_parser(command.name, help=command.summary)
    return parser, subparsers, module


def _formatter(prog: str) -> argparse.RawDescriptionHelpFormatter:
    """Python 3.11 forgets that commands are indented, and breaks the line behind the longest."""
    formatter = argparse.RawDescriptionHelpFormatter(prog)
    formatter._action_max_length = 4 + max(len(command.name) for command in COMMANDS)
    return formatter


def _check_name(arguments: list[str]) -> None:
    """Refuse a command that there is not, with the one that was most likely meant."""
    names = [command.name for command in COMMANDS]
    if not arguments or arguments[0].startswith("-") or arguments[0] in names:
        return
    import difflib  # only a mistake pays for it

    close = difflib.get_close_matches(arguments[0], names, 1)
    hint = f"did you mean {close[0]}?" if close else "`wgvx --help` lists them"
    output.usage(f"there is no command {arguments[0]!r}: {hint}")


def _refuse(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    arguments: list[str],
    strangers: list[str],
) -> NoReturn:
    """End with the usage of the command that knows nothing of `strangers`."""
    forgotten = args.command in TAKES_COMMAND and args.passthrough is None
    if forgotten and not strangers[0].startswith("-"):
        # What comes after NAME was meant as COMMAND.
        name = arguments.index(args.name, arguments.index(args.command) + 1)
        at = arguments.index(strangers[0], name + 1)
        meant = shlex.join(["wgvx", *arguments[:at], "--", *arguments[at:]])
        parser.error(f"put `--` before the command: {meant}")
    parser.error(f"unrecognized arguments: {' '.join(strangers)}")


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """What is ours, and the COMMAND after `--`, untouched; None without one."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _flush(status: int) -> int:
    """Send off what standard output still holds; `status`, or 1 where that fails."""
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        if status == 0 and not isinstance(error, BrokenPipeError):
            output.error(f"standard output: {_reason(error)}")
        # Python would flush again at its end, and fail once more.
        sys.stdout = None
        return status or 1
    return status


def _reason(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}"

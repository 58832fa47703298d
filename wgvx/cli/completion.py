"""`wgvx completion`: what makes a shell complete `wgvx` at TAB."""

from __future__ import annotations

import argparse

from wgvx.cli import output

SHELLS = ("bash", "zsh", "fish")

DESCRIPTION = """\
Print what makes a shell complete commands, options, files and the names of nodes at TAB. It asks
`wgvx` itself each time, so it stays as it is when wgvx is upgraded.
"""

EPILOG = """\
examples:
  eval "$(wgvx completion bash)"            in ~/.bashrc
  eval "$(wgvx completion zsh)"             in ~/.zshrc, below compinit
  wgvx completion fish > ~/.config/fish/completions/wgvx.fish
  wgvx completion bash | sudo tee /etc/bash_completion.d/wgvx > /dev/null
                                            for everyone, with the package bash-completion

exit status: 0 done, 2 bad usage
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "completion",
        help="what makes a shell complete wgvx at TAB",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from argcomplete.shell_integration import shellcode

    output.line(shellcode(["wgvx"], shell=args.shell))
    return 0

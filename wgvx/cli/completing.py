"""What TAB offers: argcomplete asks the very parsers that commands are read with. The shell's side
is what `wgvx completion` prints."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import argcomplete
from argcomplete.completers import FilesCompleter, SuppressCompleter
from argcomplete.lexers import split_line

from wgvx.config import ConfigError, node_name, node_names
from wgvx.control.client import ControlError, ask, find
from wgvx.control.paths import running, unseen

STARTED_FROM_A_FILE = ("up", "check")
"""Commands whose NAME is a node's file; that of the others is a running node."""

PATIENCE = 1.0
"""Seconds that a node has for an answer while somebody waits for TAB."""

Completer = Callable[..., Iterable[str]]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def complete(make_parser: Callable[[list[str]], tuple[argparse.ArgumentParser, Commands]]) -> None:
    """Answer the shell, which asks in the environment, on descriptor 8, and end this process.

    ``make_parser`` takes the words after `wgvx` that precede the one to be completed, and returns
    the parser and its commands.
    """
    line, point = os.environ.get("COMP_LINE", ""), os.environ.get("COMP_POINT", "0")
    words = split_line(line, int(point))[3][1:]
    if "--" in words:
        os._exit(1)  # COMMAND, of which we know nothing: a shell has its own for such a case
    parser, commands = make_parser(words)
    names = list(commands.choices)
    commands.add_parser("help").add_argument("topic", choices=names)
    _attach(parser, next((word for word in words if not word.startswith("-")), ""))
    argcomplete.autocomplete(
        parser,
        always_complete_options=False,
        default_completer=SuppressCompleter(),
    )


def _attach(parser: argparse.ArgumentParser, command: str) -> None:
    """Give arguments whose values can be known a completer, in the parsers below, too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _attach(below, command)
        elif completer := _completer(command, action):
            action.completer = completer  # type: ignore[attr-defined]


def _completer(command: str, action: argparse.Action) -> Completer | None:
    if action.dest == "name":
        return _files if command in STARTED_FROM_A_FILE else _running
    if action.dest == "plan":
        return FilesCompleter(("toml",))
    by_dest: dict[str, Completer] = {"sites": _sites, "vni": _vnis}
    return by_dest.get(action.dest) or (FilesCompleter() if action.type is Path else None)


def _files(prefix: str, **_: object) -> Iterable[str]:
    """Files of nodes: names where they are looked for, and paths."""
    return [*node_names(), *FilesCompleter(("toml",))(prefix)]


def _running(prefix: str, **_: object) -> Iterable[str]:
    """Running nodes. Of those of root that its `sudo` will see and we do not, the files' names."""
    if "/" in prefix:
        return FilesCompleter(("toml",))(prefix)
    return {*(name for name, _ in running()), *(node_names() if unseen() else ())}


def _vnis(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    try:
        node = ask(find(node_name(parsed_args.name)), "show", patience=PATIENCE)
    except (ConfigError, ControlError, AttributeError):  # the last: NAME is still to come
        return ()
    return [str(network["vni"]) for network in node["networks"]]


def _sites(parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    try:
        with parsed_args.plan.open("rb") as file:
            return [str(site["name"]) for site in tomllib.load(file)["site"]]
    except (OSError, ValueError, LookupError, TypeError):  # `wgvx fleet check` says what is wrong
        return ()

"""The pages of the commands, out of the parsers that read their command lines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from docs.manual.roff import Page, bold, escaped, italic, marked
from wgvx import __version__
from wgvx.cli.main import COMMANDS, make_parser

LISTS = ("example", "examples", "environment", "first steps")
"""Blocks of an epilog that are set line by line, by the word with a colon that they begin with."""


def pages() -> Iterator[tuple[str, str]]:
    """(file name, roff) of `wgvx` and of each command."""
    yield "wgvx.1", _whole()
    for command in COMMANDS:
        _, commands, _ = make_parser([command.name])
        page = Page(f"wgvx-{command.name}", 1, __version__, command.summary)
        _describe(page, commands.choices[command.name], f"wgvx {command.name}")
        page.section("see also")
        page.paragraph(f"{_reference('wgvx', 1)}, {_reference('wgvx.toml', 5)}")
        yield f"wgvx-{command.name}.1", str(page)


def _whole() -> str:
    parser, _, _ = make_parser([])
    page = Page("wgvx", 1, __version__, "an encrypted Layer 2: VXLAN over WireGuard in userspace")
    page.section("synopsis")
    page.paragraph(f"{bold('wgvx')} {italic('COMMAND')} ...")
    page.section("description")
    _paragraphs(page, parser.description or "")
    page.section("commands")
    for command in COMMANDS:
        page.item(_reference(f"wgvx-{command.name}", 1), escaped(command.summary))
    page.section("options")
    _arguments(page, parser, parser._optionals)
    _epilog(page, parser)
    page.section("see also")
    page.paragraph(
        f"{_reference('wgvx.toml', 5)}, {_reference('wg', 8)}, {_reference('bridge', 8)}"
    )
    return str(page)


def _reference(name: str, section: int) -> str:
    return f"{bold(name)}({section})"


def _describe(page: Page, parser: argparse.ArgumentParser, name: str) -> None:
    page.section("synopsis")
    page.paragraph(_usage(parser, name))
    page.section("description")
    _paragraphs(page, parser.description or "")
    for group in parser._action_groups:
        below = [act for act in group._group_actions if isinstance(act, argparse._SubParsersAction)]
        if _shown(group) and not below:
            page.section((group.title or "").removeprefix("positional "))
            if group.description:
                page.paragraph(marked(group.description))
            _arguments(page, parser, group)
        for actions in below:
            page.section(group.title or "actions")
            _actions(page, actions)
    _epilog(page, parser)


def _usage(parser: argparse.ArgumentParser, name: str) -> str:
    """The synopsis, on a line."""
    usage = re.sub(r"^usage:\s*|\s+(?=\s)", "", parser.format_usage().replace("\n", " ")).strip()
    return f"{bold(name)}{escaped(usage.removeprefix(name))}"


def _shown(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    """But for `--help`, which leads here."""
    return [
        action for action in group._group_actions if not isinstance(action, argparse._HelpAction)
    ]


def _arguments(page: Page, parser: argparse.ArgumentParser, group: argparse._ArgumentGroup) -> None:
    formatter = parser._get_formatter()
    for action in _shown(group):
        metavar = action.metavar or action.dest.upper()
        values = "" if action.nargs == 0 else formatter._format_args(action, str(metavar))
        if action.choices and action.option_strings:
            values = f"{{{','.join(map(str, action.choices))}}}"
        names = ", ".join(map(bold, action.option_strings))
        label = " ".join(filter(None, (names, values and italic(values))))
        page.item(label, marked(formatter._expand_help(action)) if action.help else "")


def _actions(page: Page, actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, parser in actions.choices.items():
        page.part(escaped(name))
        page.paragraph(_usage(parser, parser.prog))
        _paragraphs(page, parser.description or "")
        for group in parser._action_groups:
            _arguments(page, parser, group)


def _paragraphs(page: Page, text: str) -> None:
    for paragraph in text.strip().split("\n\n"):
        page.paragraph(marked(" ".join(paragraph.split())))


def _epilog(page: Page, parser: argparse.ArgumentParser) -> None:
    for block in (parser.epilog or "").strip().split("\n\n"):
        title, colon, rest = block.partition(":")
        if colon and title in LISTS:
            page.section(title)
            page.example(
                "\n".join(line.removeprefix("  ") for line in rest.strip("\n").split("\n"))
            )
        elif colon and title == "exit status":
            page.section(title)
            _paragraphs(page, rest)
        elif block:
            page.section("notes")
            _paragraphs(page, block)

"""wgvx.toml(5), out of the document that explains the file."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from docs.manual.roff import Page, bold, escaped, italic
from wgvx import __version__

DOCUMENT = Path(__file__).parents[1] / "configuration.md"
SUMMARY = "the file that describes a node of wgvx"
FIRST_OF_CELLS = ("meaning", "what it means")
"""Columns of a table that explain its first one; the others are added by their names."""


def page() -> str:
    """The page, in roff."""
    made = Page("wgvx.toml", 5, __version__, SUMMARY)
    made.section("description")
    tree = SyntaxTreeNode(MarkdownIt().enable("table").parse(DOCUMENT.read_text()))
    for node in tree.children:
        _block(made, node)
    made.section("see also")
    made.paragraph(", ".join(f"{bold(name)}(1)" for name in ("wgvx", "wgvx-check", "wgvx-up")))
    return str(made)


def _block(page: Page, node: SyntaxTreeNode) -> None:
    match node.type:
        case "heading" if node.tag == "h1":
            pass  # the page has its name
        case "heading" if node.tag == "h2":
            page.section(_plain(node.children[0]))
        case "heading":
            page.part(_inline(node.children[0]))
        case "paragraph":
            page.paragraph(_inline(node.children[0]))
        case "fence":
            page.example(node.content)
        case "bullet_list" | "ordered_list":
            for item in node.children:
                page.bullet(" ".join(_inline(block.children[0]) for block in item.children))
        case "table":
            _table(page, node)
        case other:
            raise NotImplementedError(f"{DOCUMENT.name}: no roff for {other}")


def _table(page: Page, node: SyntaxTreeNode) -> None:
    """A row becomes an item: its first cell, and a sentence for each other one."""
    head, body = node.children
    columns = [_plain(cell.children[0]) for cell in head.children[0].children][1:]
    for row in body.children:
        label, *cells = (_inline(cell.children[0]) for cell in row.children)
        named = dict(zip(columns, cells, strict=True))
        first = [named.pop(column) for column in FIRST_OF_CELLS if column in named]
        rest = [_sentence(column, text) for column, text in named.items() if text]
        page.item(label, " ".join([*first, *rest]))


def _sentence(column: str, text: str) -> str:
    said = f"{escaped(column.capitalize())}: {text}" if column else text
    return said if said.endswith(".") else f"{said}."


def _inline(node: SyntaxTreeNode) -> str:
    if node.type in ("code_inline", "strong"):
        return bold(_plain(node))
    if node.type in ("softbreak", "hardbreak"):
        return " "
    if node.type == "em":
        return italic(_plain(node))
    if node.type == "link" and "://" in (target := str(node.attrs["href"])):
        return f"{_children(node)} <{escaped(target)}>"
    return escaped(node.content) if node.type == "text" else _children(node)


def _children(node: SyntaxTreeNode) -> str:
    return "".join(map(_inline, node.children))


def _plain(node: SyntaxTreeNode) -> str:
    """Without any markup."""
    if node.type in ("softbreak", "hardbreak"):
        return " "
    return "".join(map(_plain, node.children)) if node.children else node.content

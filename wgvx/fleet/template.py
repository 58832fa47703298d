"""The texts in `templates/`, filled in: `$name` stands for a value, `$$` for a dollar sign."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template


def verbatim(name: str) -> str:
    """A text that has nothing to be filled in, whatever dollar signs are for in it."""
    return (files("wgvx.fleet") / "templates" / name).read_text("utf-8")


@cache
def _template(name: str) -> Template:
    return Template(verbatim(name))


def filled(name: str, **values: object) -> str:
    """A template with its values; each has to be given."""
    return _template(name).substitute(values)

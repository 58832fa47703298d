"""What a running node says: whatever it speaks of, one line a record that no terminal obeys."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgvx.cli import logs, output


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    said = output.printable(text)
    assert said.isprintable()
    if text.isprintable():
        assert said == text


@pytest.fixture
def said(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What goes to standard error, as text or in the format of the parameter."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    loggers = [logging.getLogger(name) for name in ("wgvx", "asyncio")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    monkeypatch.setattr(output, "_form", output._form)
    logs.to_stderr(getattr(request, "param", logs.TEXT), node="a", verbose=True)
    yield stream
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


def test_a_client_writes_no_lines_of_its_own(said: io.StringIO) -> None:
    log = logging.getLogger("wgvx.stack.socks5")
    log.debug("SOCKS5 to %s port 1", "x\nwgvx: warning: all is lost\x1b[2J\u202e\x9b")
    log.warning("plain, \u00e9 too")
    try:
        raise ValueError("of a\rname")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    first, second, third, *traceback = said.getvalue().splitlines()
    assert first == r"wgvx: SOCKS5 to x\nwgvx: warning: all is lost\x1b[2J\u202e\x9b port 1"
    assert (second, third) == ("wgvx: warning: plain, \u00e9 too", "wgvx: failed")
    assert traceback[0].startswith("Traceback")
    assert traceback[-1] == r"ValueError: of a\rname"


def test_nor_do_the_rows_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields([("stream", "vm1, waits at /x\x1b]0;y\x07\n  tap: blue0")])
    output.table(["port"], [["vm\x1b[2J"]])
    assert capsys.readouterr().out.splitlines() == [
        r"  stream: vm1, waits at /x\x1b]0;y\x07\n  tap: blue0",
        "port",
        r"vm\x1b[2J",
    ]


@pytest.mark.parametrize("said", [logs.JSON], indirect=True)
def test_each_record_is_one_object(said: io.StringIO) -> None:
    log = logging.getLogger("wgvx.node")
    log.info("peer %s", "x\ny\u2028\x1b\ud800")
    log.warning("beware")
    try:
        raise ValueError("of a name")
    except ValueError:
        logging.getLogger("asyncio").exception("failed")
    lines = said.getvalue().split("\n")
    assert lines.pop() == ""
    assert all(line.isascii() and line.isprintable() for line in lines)
    told = [json.loads(line) for line in lines]
    stable = ["time", "level", "node", "module", "message"]
    assert [list(one) for one in told] == [stable, stable, [*stable, "traceback"]]
    assert [one["level"] for one in told] == ["info", "warning", "error"]
    assert {one["node"] for one in told} == {"a"}
    assert told[0]["module"] == "wgvx.node"
    assert told[0]["message"] == "peer x\ny\u2028\x1b\ud800"
    assert told[2]["traceback"].endswith("ValueError: of a name")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told[0]["time"])


@pytest.mark.parametrize("said", [logs.JSON], indirect=True)
@pytest.mark.usefixtures("said")
def test_so_is_what_a_command_ends_with(capsys: pytest.CaptureFixture[str]) -> None:
    output.error("it ends\nfor two reasons")
    output.warning("beware")
    error, warning = map(json.loads, capsys.readouterr().err.splitlines())
    assert (error["level"], error["message"]) == ("error", "it ends\nfor two reasons")
    assert (warning["level"], warning["message"]) == ("warning", "beware")
    assert list(error) == ["time", "level", "node", "module", "message"]

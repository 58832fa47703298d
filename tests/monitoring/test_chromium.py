"""The status page in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.monitoring.conftest import Watched
from tests.support import browser
from tests.support.browser import Browser

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(browser.MISSING), reason=str(browser.MISSING)),
]

PLOT = 'document.querySelectorAll("svg path.in")[{}].getAttribute("d")'
CELL = 'document.querySelector("#{} tr:nth-child(2) td:nth-child({})").textContent'


def test_it_shows_the_node_and_draws_its_rates(
    watched: Watched, place: Place, tmp_path: Path
) -> None:
    with Browser(tmp_path / "profile", "--window-size=1200,1000") as page:
        page.ask("Page.navigate", url=f"http://127.0.0.1:{watched.ports['a']}/")
        page.eventually('document.querySelector("#state")?.textContent === "● live"')
        assert page.evaluate('document.querySelector("h1").textContent') == "a"
        assert page.evaluate(CELL.format("peers", 1)) == "<b>b</b>", "text, not markup"
        assert page.evaluate(CELL.format("networks", 1)) == "4200"
        assert page.evaluate(CELL.format("networks", 2)) == "a0"
        page.eventually(PLOT.format(0), lambda d: isinstance(d, str) and d.count("L") >= 3)
        page.eventually(CELL.format("peers", 3), lambda rate: str(rate).endswith("bit/s"))
        assert page.evaluate(CELL.format("peers", 2)).endswith(" ago")
        page.eventually(CELL.format("peers", 7), lambda size: str(size).isdigit())
        page.eventually(CELL.format("drops", 1), lambda reason: reason == "malformed")
        heights = page.evaluate('document.querySelector("svg").getBoundingClientRect().height')
        assert heights > 50
        wide = "document.documentElement.scrollWidth <= window.innerWidth"
        assert page.evaluate(wide)
        page.ask(
            *("Emulation.setDeviceMetricsOverride",),
            width=390,
            height=800,
            deviceScaleFactor=1,
            mobile=True,
        )
        assert page.evaluate(wide), "on a phone"
        page.screenshot(tmp_path / "phone.png")
        assert page.complaints == []
        # A node that has gone is told of, and one that came back is seen again.
        for node in place.started:
            node.terminate()
        page.eventually('document.querySelector("#state").className === "bad"')


def test_nothing_else_runs_there(watched: Watched, tmp_path: Path) -> None:
    """Not even what got into the page somehow."""
    with Browser(tmp_path / "profile") as page:
        page.ask("Page.navigate", url=f"http://127.0.0.1:{watched.ports['a']}/")
        page.eventually('document.querySelector("#state")?.textContent === "● live"')
        page.evaluate(
            """
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hit = 1'>");
            const script = document.createElement("script");
            script.textContent = "window.hit = 2";
            document.body.append(script);
            fetch("http://127.0.0.1:1/").catch(() => { window.tried = true; });
            """
        )
        page.eventually("window.tried")
        assert page.evaluate("typeof window.hit") == "undefined"
        assert any("Content Security Policy" in one for one in page.complaints)

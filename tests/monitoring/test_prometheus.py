"""A real Prometheus scrapes real nodes, and answers every query of the Grafana dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.conftest import PATIENCE, Watched, free_port

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "docs" / "grafana" / "wgvx.json").read_text())

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="missing: apt-get install -y --no-install-recommends prometheus",
    ),
]


class Prometheus:
    """One that looks at some targets every second."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        config = folder / "prometheus.json"  # JSON is YAML, too.
        scrape = {"job_name": "wgvx", "static_configs": [{"targets": targets}]}
        settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        config.write_text(json.dumps(settings))
        self._port = free_port()
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
        )

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def until(self, expression: str, results: int) -> None:
        """Wait for as many answers."""
        deadline = time.monotonic() + 3 * PATIENCE
        while True:
            try:
                if len(self.query(expression)) == results:
                    return
            except OSError:
                pass  # It is starting.
            assert time.monotonic() < deadline, expression
            time.sleep(0.5)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


@pytest.fixture
def prometheus(watched: Watched, tmp_path: Path) -> Iterator[Prometheus]:
    made = Prometheus(tmp_path, [f"127.0.0.1:{port}" for port in watched.ports.values()])
    try:
        yield made
    finally:
        made.close()


def filled(expression: str) -> str:
    """As Grafana sends it with all nodes and peers chosen."""
    for variable, value in (("node", ".*"), ("peer", ".*"), ("__rate_interval", "5s")):
        expression = expression.replace(f"${variable}", value)
    assert "$" not in expression, expression
    return expression


def queries() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.timeout(180)
def test_every_query_of_the_dashboard_is_answered(prometheus: Prometheus) -> None:
    prometheus.until('min_over_time(up{job="wgvx"}[4s]) == 1', 2)
    prometheus.until("rate(wgvx_peer_rx_bytes_total[5s]) > 0", 2)
    prometheus.until("rate(wgvx_dropped_packets_total[5s]) > 0", 2)
    for title, expression in queries():
        answer = prometheus.query(filled(expression))
        assert answer, (title, expression)
        for series in answer:
            assert float(series["value"][1]) >= 0, (title, series)
        legends = [
            target["legendFormat"]
            for panel in DASHBOARD["panels"]
            for target in panel["targets"]
            if target["expr"] == expression
        ]
        for label in re.findall(r"\{\{(\w+)\}\}", "".join(legends)):
            assert all(label in series["metric"] for series in answer), (title, label)
    one_of = DASHBOARD["templating"]["list"][1:]
    assert [variable["name"] for variable in one_of] == ["node", "peer"]
    for variable in one_of:
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
        assert asked is not None
        values = prometheus.ask(f"label/{asked[2]}/values", **{"match[]": filled(asked[1])})
        assert values == {"node": ["a", "b"], "peer": ["<b>a</b>", "<b>b</b>"]}[variable["name"]]
    sessions = next(expression for title, expression in queries() if title.startswith("Peers"))
    assert prometheus.query(filled(sessions))[0]["value"][1] == "2"


def test_prometheus_linter_is_content(watched: Watched) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{watched.ports['a']}/metrics") as answer:
        text = answer.read()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

"""What Prometheus reads of a node is what `wgvx show` says, with labels of the node's own alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.control.controlled import TWO
from tests.node.sites import NETWORK, VNI, config, deliver, peer, point, port_of, running
from tests.support.running import Run
from wgvx.config.values import parse_label
from wgvx.control import metrics, status

DOCS = Path(__file__).resolve().parents[2] / "docs"

LABELS = {
    *("node", "peer", "vni", "port", "reason", "offload", "step"),
    *("version", "public_key", "dataplane", "aead"),
}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def exposed(shown: dict[str, Any]) -> str:
    found = metrics.metrics(shown, cpu_seconds=1.5, started=1e9)
    return b"".join(map(metrics.expose, found)).decode()


def read(text: str) -> Series:
    """By a parser of Prometheus' own; each series once."""
    series: Series = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in series
            series[key] = sample.value
    return series


def value(series: Series, name: str, **labels: object) -> float:
    return series[name, frozenset({key: str(text) for key, text in labels.items()}.items())]


def is_name(text: str) -> bool:
    """Whether a file may have it as a peer's."""
    try:
        return bool(parse_label(text))
    except ValueError:
        return False


def shown_with(peers: Iterable[tuple[str | None, str]]) -> list[dict[str, Any]]:
    return [{"name": name, "public_key": key} for name, key in peers]


def test_it_says_what_show_says(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        one = config(tmp_path, 1, peer(2, 'name = "two"'), peer(3), TWO)
        two = config(tmp_path, 2, peer(1), NETWORK)
        async with running(one) as near, running(two) as far:
            point(near, 2, "127.0.0.1", far.listen_port)
            await deliver(port_of(near), port_of(far), b"counted")
            shown = status.show(near)
            series = read(exposed(shown))
            for of, label in zip(shown["peers"], ("two", None), strict=True):
                here = {"node": "n1", "peer": label or of["public_key"][:8]}
                assert value(series, "wgvx_peer_rx_bytes_total", **here) == of["rx_bytes"]
                assert value(series, "wgvx_peer_tx_bytes_total", **here) == of["tx_bytes"]
                name = "wgvx_peer_latest_handshake_seconds"
                assert value(series, name, **here) == of["latest_handshake"]
                assert value(series, "wgvx_peer_info", **here, public_key=of["public_key"]) == 1
            assert shown["peers"][0]["latest_handshake"] > 0
            for network in shown["networks"]:
                here = {"node": "n1", "vni": network["vni"]}
                for counter in ("rx_frames", "tx_frames"):
                    found = value(series, f"wgvx_network_{counter}_total", **here)
                    assert found == network[counter]
                assert value(series, "wgvx_network_fdb_entries", **here) == network["fdb_entries"]
                moves = value(series, "wgvx_network_station_moves_total", **here)
                assert moves == network["moves"]
                assert value(series, "wgvx_network_mtu_bytes", **here) == network["mtu"]
                for attach in network["attach"]:
                    assert value(series, "wgvx_port_up", **here, port=attach["name"]) == 1
            for reason, count in shown["drops"].items():
                here = {"node": "n1", "reason": reason}
                assert value(series, "wgvx_dropped_packets_total", **here) == count
            assert value(series, "wgvx_tunnel_mtu_bytes", node="n1") == shown["tunnel_mtu"]
            assert value(series, "process_cpu_seconds_total") == 1.5
            assert value(series, "process_start_time_seconds") == 1e9
            labels = {label for _, pairs in series for label, _ in pairs}
            assert labels <= LABELS
            for address in ("127.0.0.1", "10.254.0", "fd00:"):
                assert address not in exposed(shown)

    run(scenario())


def test_the_manual_and_the_dashboard_speak_of_what_there_is(run: Run, tmp_path: Path) -> None:
    features = "suppress = true\nsnooping = true\nloop_detection = true\n"

    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK + features)) as node:
            shown = status.show(node)
            counters = {"connections": 3, "full": 2}  # as of a stack
            shown["networks"][0]["attach"][0]["counters"] = counters
            shown["peers"][0]["path_mtu"] = 1296
            series = read(exposed(shown))
            label = metrics.peer_labels(shown["peers"])[0]
            assert value(series, "wgvx_peer_path_mtu_bytes", node="n1", peer=label) == 1296
            here = {"node": "n1", "vni": VNI, "port": "m0"}
            assert value(series, "wgvx_stack_connections", **here) == 3
            assert value(series, "wgvx_stack_refused_total", **here, reason="full") == 2
            told = {name for name, _ in series}
            manual = (DOCS / "operations.md").read_text()
            rows = "\n".join(re.findall(r"^\| `(?:wgvx|process)_.*$", manual, re.MULTILINE))
            assert set(re.findall(r"`((?:wgvx|process)_\w+)`", rows)) == told
            dashboard = json.loads((DOCS / "grafana" / "wgvx.json").read_text())
            for panel in dashboard["panels"]:
                for target in panel["targets"]:
                    asked = set(re.findall(r"\b(?:wgvx|process)_\w+", target["expr"]))
                    assert asked
                    assert asked <= told

    run(scenario())


def test_show_without_prefixes_is_the_rest_of_it(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(config(tmp_path, 1, peer(2), NETWORK)) as node:
            whole, less = status.show(node), status.show(node, prefixes=False)
            assert whole["peers"][0].pop("allowed_ips")
            assert less["peers"][0].pop("allowed_ips") == []
            assert whole == less

    run(scenario())


def test_peers_are_told_apart() -> None:
    keys = ["A" * 43 + "=", "A" * 42 + "B=", "C" * 43 + "="]
    assert metrics.peer_labels(shown_with((None, key) for key in keys)) == [*keys[:2], "CCCCCCCC"]
    assert metrics.peer_labels(shown_with(("x", key) for key in keys[:2])) == [
        f"x {key}" for key in keys[:2]
    ]
    # One that is called like others with their keys.
    alike = metrics.peer_labels(
        shown_with([("x", keys[0]), ("x", keys[1]), (f"x {keys[0]}", keys[2]), (None, "A" * 8)])
    )
    assert alike == [f"x {keys[0]} {keys[0]}", f"x {keys[1]}", f"x {keys[0]} {keys[2]}", "A" * 8]


@given(st.lists(st.text(max_size=64).filter(is_name), unique=True, max_size=5))
def test_any_name_is_a_label(names: list[str]) -> None:
    peers = shown_with((name, str(number)) for number, name in enumerate(names))
    counts = {"rx_bytes": 1, "tx_bytes": 2, "latest_handshake": 0, "path_mtu": None}
    counted = [one | counts for one in peers]
    shown = {
        **dict.fromkeys(("name", "public_key", "dataplane", "aead"), "x"),
        **{key: {} for key in ("drops", "offloads", "confinement")},
        "peers": counted,
        "networks": [],
        "tunnel_mtu": 1420,
    }
    series = read(exposed(shown))
    for name in names:
        assert value(series, "wgvx_peer_rx_bytes_total", node="x", peer=name) == 1

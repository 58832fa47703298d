"""`wgvx up --metrics` and `--log-format json`, of a node that has confined itself."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import pytest

from tests.cli.place import Place, ended

PATIENCE = 20.0


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
        return text


def test_a_confined_node_tells_what_it_counts(place: Place, port: int) -> None:
    node = place.up("--metrics", str(port), "--log-format", "json")
    assert get(port, "/readyz") == "ready\n"
    metrics = get(port, "/metrics")
    for step in ("caps", "nnp", "seccomp"):
        assert f'wgvx_confined{{node="a",step="{step}"}} 1.0' in metrics
    assert 'wgvx_dropped_packets_total{node="a",reason="malformed"} 0.0' in metrics
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"no message of WireGuard's", ("127.0.0.1", place.port))
    assert json.loads(get(port, "/status.json"))["listen_port"] == place.port
    assert get(port, "/").startswith("<!doctype html>")
    node.send_signal(signal.SIGTERM)
    status, log = ended(node)
    assert status == 0
    told = [json.loads(line) for line in log.splitlines()]
    assert told
    assert {one["node"] for one in told} == {"a"}
    assert all(one["time"].endswith("Z") for one in told)


def test_where_it_cannot_listen(place: Place, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = place.wgvx("up", "a", "--metrics", str(port), "--log-format", "json")
    assert done.returncode == 1
    last = json.loads(done.stderr.splitlines()[-1])
    assert (last["level"], last["message"]) == (
        "error",
        f"--metrics 127.0.0.1:{port}: Address already in use",
    )
    assert place.left() == []


def test_beyond_the_loopback_there_is_a_warning(place: Place, port: int) -> None:
    node = place.up("--metrics", f"0.0.0.0:{port}")
    assert get(port, "/livez") == "alive\n"
    node.send_signal(signal.SIGTERM)
    assert f"wgvx: warning: --metrics: whoever reaches 0.0.0.0:{port} can read" in ended(node)[1]


@pytest.mark.parametrize("bad", ["", "x", "0", "65536", "127.0.0.1", "a:b:1", "[::1]", "-1"])
def test_where_nobody_can_listen(bad: str, place: Place) -> None:
    done = place.wgvx("up", "a", f"--metrics={bad}")
    assert done.returncode == 2
    assert 'want "port" or "host:port" such as "127.0.0.1:9586"' in done.stderr

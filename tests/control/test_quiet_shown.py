"""A quiet network, as show, check's JSON and the metrics tell of it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.control.controlled import asked, controlled
from tests.node.sites import NETWORK, VNI, config, peer, point, port_of, running, until
from tests.quiet.test_suppression import HERE, THERE, reply, request
from tests.support.running import Run
from wgvx.cli import quiet_words
from wgvx.cli.main import main
from wgvx.config import quiet
from wgvx.control.metrics import expose, metrics
from wgvx.ports.memory import MemoryPort
from wgvx.reload.reloader import Reloader

QUIET = "sticky = true\nbroadcast_limit = 7\nsuppress = true\n"


def _has_taken(port: MemoryPort) -> bool:
    return bool(port.take())


def test_what_a_feature_has_seen_is_told(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        far_file = config(folder, 2, peer(1), NETWORK)
        async with controlled(folder, peer(2), NETWORK + QUIET) as near, running(far_file) as far:
            point(near, 2, "127.0.0.1", far.listen_port)
            here, there = port_of(near), port_of(far)
            for source, frame, destination in (
                (here, request(HERE, THERE), there),
                (there, reply(THERE, HERE), here),
                (here, request(HERE, THERE), here),
            ):
                assert source.inject(frame)
                await until(partial(_has_taken, destination))
            (network,) = (await asked("show"))["networks"]
            assert network["quiet"] == {
                "sticky": True,
                "move_limit": 0,
                "broadcast_limit": 7,
                "multicast_limit": 0,
                "unknown_limit": 0,
                "suppress": {"neighbours": 2, "answered": 1},
                "snooping": None,
                "loop_detection": None,
            }
            told = metrics(await asked("show"), cpu_seconds=0, started=0)
            text = b"".join(map(expose, told)).decode()
            labels = f'{{node="n1",vni="{VNI}"}}'
            assert f"wgvx_network_neighbour_answers_total{labels} 1.0" in text
            assert f"wgvx_network_neighbours{labels} 2.0" in text
            assert await asyncio.to_thread(main, ["show", "n1"]) == 0
            config(folder, 1, peer(2), NETWORK)
            said, _ = await Reloader(near).reload()
            assert list(said) == [
                f"network {VNI}: sticky: true -> false",
                f"network {VNI}: broadcast_limit: 7 -> 0",
                f"network {VNI}: suppress: true -> false",
            ]
            (network,) = (await asked("show"))["networks"]
            assert not any(network["quiet"].values())

    run(scenario())
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "quiet: sticky, broadcast_limit 7, suppress" in lines
    assert "suppress: 2 neighbours, 1 answered" in lines


def a_quiet_network(**said: object) -> dict[str, Any]:
    return {"moves": 0, "quiet": dict.fromkeys(quiet.FEATURES) | said}


BLOCKED = {"port": "blue0", "seconds": 8, "way": "there and back"}


def test_a_blocked_port_is_told_to_people() -> None:
    seen = {"blocked": [BLOCKED], "blocked_ports": 1, "blockings": 1, "probes_returned": 2}
    network = a_quiet_network(loop_detection=seen)
    told = dict(quiet_words.rows(network))
    assert told["loop detection"] == "1 blocked port, 1 blocking, 2 probes returned"
    assert told["blocked"] == "blue0, 8 s ago: there and back"
    assert quiet.blocked(network["quiet"]) == {"blue0"}
    assert quiet.blocked(a_quiet_network()["quiet"]) == set()


@pytest.mark.parametrize(
    ("querier", "restricting", "full", "words"),
    [
        (False, False, False, "everywhere (no querier is heard, or too many routers are)"),
        (True, False, False, "everywhere (until those who listen had time to answer the querier)"),
        (True, True, False, "to those who listen"),
        (True, True, True, "to those who listen (unknown ones everywhere, as there are too many)"),
    ],
)
def test_whether_snooping_restricts_is_told_to_people(
    *, querier: bool, restricting: bool, full: bool, words: str
) -> None:
    family = {"querier": querier, "restricting": restricting, "full": full}
    silent = {"querier": False, "restricting": False, "full": False}
    seen = {"groups": 1, "members": 2, "routers": 1, "ipv4": family, "ipv6": silent}
    told = dict(quiet_words.rows(a_quiet_network(snooping=seen)))
    assert told["snooping"] == "1 group, 2 members, 1 router"
    assert told["IPv4 groups"] == words
    assert told["IPv6 groups"] == "everywhere (no querier is heard, or too many routers are)"

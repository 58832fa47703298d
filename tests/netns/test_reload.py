"""A confined node is reloaded under traffic, and loses none of it."""

from __future__ import annotations

import signal

import pytest

from tests.netns.lab import Lab, eventually
from tests.netns.nodes import WgvxNode, private_key, public_key, wgvx_pair
from tests.netns.test_confined import assert_powerless
from tests.netns.traffic import assert_ping
from tests.support.dataplanes import NATIVE_MISSING

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]


def another_peer(node: WgvxNode, index: int) -> None:
    node.peers.append(
        {
            "name": f"peer{index}",
            "public_key": public_key(private_key()),
            "allowed_ips": [f"10.254.0.{index}/32"],
        }
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("--workers", "2"),
            marks=pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING),
            id="native",
        ),
        pytest.param(("--dataplane", "reference"), id="reference"),
    ],
)
def test_reload_under_traffic(lab: Lab, options: tuple[str, ...]) -> None:
    a, b = wgvx_pair(lab)
    a.start(*options)
    b.start(*options)
    assert_ping(a.host, b.address[4])
    handshake = a.latest_handshake(b.id)
    # 50 a second, while peers come, change and go.
    pings = a.host.start("ping", "-q", "-i", "0.02", "-c", "100", b.address[4], log="ping")
    for index in range(5, 9):
        another_peer(a, index)
        a.peers.reverse()
        a.networks[0]["ageing"] = 100 + index
        a.write()
        assert f'peer "peer{index}": added' in a.wgvx("reload", a.name).stdout
    del a.peers[a.peers.index(next(p for p in a.peers if p["name"] == "peer5"))]
    a.write()
    assert 'peer "peer5": removed' in a.wgvx("reload", a.name).stdout
    assert pings.wait() == 0
    assert "100 packets transmitted, 100 received" in pings.stdout
    assert a.latest_handshake(b.id) == handshake
    assert len(a.show()["peers"]) == 4

    # What takes a privilege that the node has not any more.
    a.node |= {"listen_port": 40001, "fwmark": 7}
    a.write()
    said = a.wgvx("reload", a.name).stdout
    assert said == "listen_port: 51820 -> 40001\nfwmark: 0 -> 7\n"
    a.id.port = 40001
    assert_ping(a.host, b.address[4])
    eventually(lambda: b.endpoint(a.id) == f"{a.id.address[4]}:40001", "b has noticed")
    assert_powerless(a)
    a.networks[0]["mtu"] = 1300
    a.write()
    refused = a.wgvx("reload", a.name, check=False)
    assert refused.returncode == 2
    assert "mtu: found 1300, want none" in refused.stderr
    a.stop()
    b.stop()


@pytest.mark.parametrize(
    ("arguments", "status"), [(("--rootless",), 0), (("--", "sleep", "60"), 128 + signal.SIGTERM)]
)
def test_reload_of_a_rootless_node(lab: Lab, arguments: tuple[str, ...], status: int) -> None:
    """Also while COMMAND runs."""
    a, _ = wgvx_pair(lab)
    a.start(*arguments)
    another_peer(a, 5)
    a.write()
    assert a.wgvx("reload", a.name).stdout.startswith('peer "peer5": added\n')
    assert a.process is not None
    family = a.process.family()
    a.wgvx("down", a.name)
    a.assert_ended(family, status)

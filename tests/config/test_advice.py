"""What is valid yet hardly meant."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.config.files import (
    FDB,
    NETWORK,
    NODE,
    NODE_LESS_KEY,
    PEER,
    PRIVATE,
    PSK,
    B,
    C,
    read,
    write,
)
from wgvx import keys
from wgvx.config import (
    load,
    mtu_warnings,
    overlaps,
)

WARNED = {
    "empty remotes": (NODE + PEER + NETWORK + "remotes = []\n", "network 4200: remotes is empty"),
    "nobody to flood to": (NODE + NETWORK, "network 4200: remotes is empty (there is no peer)"),
    "no host to flood to": (
        NODE + PEER.replace("0.2/32", "0.0/25") + NETWORK,
        "network 4200: remotes is empty (no peer has a /32 or /128 of a family this node has an "
        "address in): broadcasts and frames to unknown addresses go nowhere; set `remotes` in "
        "[[network]]",
    ),
    "host bits": (
        NODE + PEER.replace("0.2/32", '0.2/24", "10.254.1.2/24'),
        'peer "b": allowed_ips: 10.254.0.2/24 is read as 10.254.0.0/24; for one host write '
        "10.254.0.2/32 (and 1 more like it)",
    ),
    "endpoint inside the overlay": (
        NODE + PEER + 'endpoint = "10.0.0.9:51820"\n' + NETWORK + 'address = ["10.0.0.1/24"]\n',
        'network 4200: 10.0.0.0/24 holds the endpoint 10.0.0.9:51820 of peer "b": unless the node '
        "runs rootless, the tunnel is routed into itself",
    ),
    "uncovered": (
        NODE + PEER + NETWORK + 'remotes = ["10.9.0.1"]\n',
        "network 4200: remotes has 10.9.0.1, which no peer's allowed_ips covers",
    ),
    "a proxy for everybody": (
        NODE
        + PEER
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"],'
        + ' socks5 = "0.0.0.0:1080", http = "localhost:8080" }]\n',
        "network 4200: socks5 0.0.0.0:1080 is not on the loopback: whoever reaches it reaches the "
        "overlay",
    ),
    "a forward for everybody": (
        NODE
        + PEER
        + NETWORK
        + 'attach = [{ type = "stack", name = "x", address = ["10.0.0.9/24"],'
        + ' forward = ["*:80:10.0.0.2:80", "81:10.0.0.2:80"], reverse = ["82:127.0.0.1:82"] }]\n',
        "network 4200: forward *:80 is not on the loopback: whoever reaches it speaks on the "
        "overlay, from the stack's address",
    ),
    "a VM's socket for everybody": (
        NODE
        + PEER
        + NETWORK
        + 'attach = [{ type = "stream", name = "x", listen = "0.0.0.0:5555" }]\n',
        "network 4200: listen 0.0.0.0:5555 is not on the loopback: whoever reaches it is the VM",
    ),
    "a VM's datagram socket for everybody": (
        NODE
        + PEER
        + NETWORK
        + 'attach = [{ type = "dgram", name = "x", local = "[::]:1", remote = "[::1]:2" }]\n',
        "network 4200: local [::]:1 is not on the loopback: whoever reaches it is the VM",
    ),
    "a namespace without a TAP": (
        NODE
        + PEER
        + NETWORK
        + 'netns = "blue"\nattach = [{ type = "stream", name = "x", listen = "/x" }]\n',
        "network 4200: netns blue is for a TAP, and there is none",
    ),
    "own remote": (
        NODE + PEER + NETWORK + 'remotes = ["10.254.0.1"]\n',
        "network 4200: remotes has 10.254.0.1, this node's own address",
    ),
    "own allowed ip": (
        NODE + PEER.replace("0.2/32", "0.1/32"),
        'peer "b": allowed_ips has this node\'s own address',
    ),
    "remote not accepted": (
        NODE + PEER + NETWORK + 'accept = ["10.1.0.0/16"]\n',
        "network 4200: remotes has 10.254.0.2, which accept leaves out",
    ),
    "nobody accepted": (NODE + PEER + NETWORK + "accept = []\n", "accept is empty"),
    "fdb uncovered": (
        NODE + PEER + NETWORK + FDB % ('"02:00:00:00:00:02"', '"10.9.0.1"'),
        "fdb has the VTEP 10.9.0.1, which no peer's allowed_ips covers",
    ),
    "overlay mtu": (
        NODE + PEER + NETWORK + "mtu = 1279\n",
        "network 4200: MTU 1279 is below 1280: IPv6 will not run on it",
    ),
    "overlay mtu from the tunnel's": (
        NODE + "mtu = 1349\n" + PEER + NETWORK,
        "network 4200: MTU 1279 is below 1280: IPv6 will not run on it",
    ),
    "tunnel mtu": (
        NODE.replace('"]', '", "fd00::1/64"]') + "mtu = 1279\n",
        "tunnel MTU 1279 is below 1280: IPv6 will not run on it",
    ),
    "overlay too large": (
        NODE + "mtu = 1420\n" + PEER + NETWORK + "mtu = 1371\n",
        "network 4200: MTU 1371 is more than the 1370 that a tunnel MTU of 1420 carries",
    ),
    "network address": (NODE.replace("0.1/24", "0.0/24"), "[node]: address 10.254.0.0/24 is that"),
    "broadcast": (NODE.replace("0.1/24", "0.255/24"), "is the broadcast address"),
    "no allowed ips": (NODE + f'[[peer]]\npublic_key = "{C}"\n', "peer 1: allowed_ips is empty"),
    "low order": (
        NODE + PEER.replace(B, keys.encode(bytes(32))),
        'peer "b": public_key is a point of low order',
    ),
    "names": (
        NODE + PEER + f'[[peer]]\nname = "b"\npublic_key = "{C}"\nallowed_ips = ["10.1.0.0/16"]\n',
        'peer "b": the name is given to more than one peer',
    ),
    "shared subnet": (
        NODE + PEER + NETWORK + 'address = ["10.0.0.1/24"]\n'
        '[[network]]\nvni = 1\ntap = "x"\naddress = ["10.0.0.2/16"]\n',
        "network 1: 10.0.0.0/16 overlaps 10.0.0.0/24 of network 4200 in the same namespace",
    ),
}


@pytest.mark.parametrize(("text", "part"), WARNED.values(), ids=WARNED)
def test_what_is_hardly_meant_is_warned_of(tmp_path: Path, text: str, part: str) -> None:
    warnings = read(tmp_path, text).warnings
    assert [warning for warning in warnings if part in warning], warnings
    assert len(warnings) == 1, warnings


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_key_that_others_can_read(tmp_path: Path, mode: int, told: bool) -> None:
    key = tmp_path / "a.key"
    key.write_text(PRIVATE)
    key.chmod(mode)
    path = write(tmp_path, NODE_LESS_KEY + 'private_key_file = "a.key"\n')
    path.chmod(0o644)  # holds no secret
    expected = f'others can read "{key}", which holds a secret key: chmod go= "{key}"'
    assert load(path).warnings == ((expected,) if told else ())
    path.write_text(NODE + PEER + f'preshared_key = "{PSK}"\n')
    assert load(path).warnings == (expected.replace("a.key", "a.toml"),)


def test_mtu_warnings_follow_the_tunnel(tmp_path: Path) -> None:
    loaded = read(tmp_path, NODE + PEER + NETWORK)
    assert loaded.warnings == ()
    assert mtu_warnings(loaded, 1420) == []
    assert mtu_warnings(loaded, 1350) == []
    assert mtu_warnings(loaded, 1349) == [
        "network 4200: MTU 1279 is below 1280: IPv6 will not run on it"
    ]


def test_an_endpoint_inside_an_overlay_with_a_namespace_is_well(tmp_path: Path) -> None:
    text = NODE + PEER + 'endpoint = "10.0.0.9:51820"\n' + NETWORK + 'address = ["10.0.0.1/24"]\n'
    assert read(tmp_path, text + 'netns = "blue"\n').warnings == ()


def test_overlaps_are_explained(tmp_path: Path) -> None:
    text = (
        NODE
        + PEER
        + f'[[peer]]\npublic_key = "{C}"\nallowed_ips = ["10.254.0.0/24", "10.254.0.128/25"]\n'
        + NETWORK
        + 'address = ["10.0.0.1/24", "10.254.0.7/16"]\n'
    )
    found = overlaps(read(tmp_path, text))
    assert found == [
        '10.254.0.2/32 of peer "b" lies within 10.254.0.0/24 of peer 2: the longer prefix wins',
        "network 4200: 10.254.0.0/16 overlaps the tunnel's 10.254.0.0/24: allowed, the two never "
        "meet, but hard to read",
    ]


def test_a_large_file_loads_in_seconds(tmp_path: Path) -> None:
    prefixes = ", ".join(f'"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32"' for n in range(100_000))
    text = NODE.replace("10.254.0.1", "172.16.0.1") + PEER.replace('"10.254.0.2/32"', prefixes)
    before = time.process_time()
    loaded = read(tmp_path, text + NETWORK)
    assert overlaps(loaded) == []
    assert len(loaded.peers[0].allowed_ips) == 100_000
    assert time.process_time() - before < 10
